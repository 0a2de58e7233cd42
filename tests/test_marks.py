"""What tests promise: no property has a time limit, and `make test-quick` starts no ranks."""

import ast
from pathlib import Path

from hypothesis import settings

TESTS = Path(__file__).parent
STARTERS = {"run_ranks", "Forked", "small_shards", "dropout_shards", "reference", "both_stages"}
"""What starts ranks in tests/training: functions, and fixtures made with them."""


def modules():
    for path in sorted(TESTS.rglob("test_*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def marks(nodes) -> set[str]:
    return {node.attr for part in nodes for node in ast.walk(part) if isinstance(node, ast.Attribute)}


def test_no_property_has_a_deadline():
    assert settings().deadline is None, "in the profile of tests/conftest.py"
    for path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "settings":
                limits = [ast.unparse(k.value) for k in node.keywords if k.arg == "deadline"]
                assert limits in ([], ["None"]), f"{path}:{node.lineno}"


def test_tests_that_start_ranks_are_marked_slow():
    for path, tree in modules():
        if path.parent.name != "training" or "slow" in marks(n for n in tree.body if isinstance(n, ast.Assign)):
            continue
        for test in (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")):
            asked = {a.arg for a in test.args.args} | {n.id for n in ast.walk(test) if isinstance(n, ast.Name)}
            assert not asked & STARTERS or "slow" in marks(test.decorator_list), f"{path}: {test.name}"
