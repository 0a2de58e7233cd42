"""The material, made once for all processes that run tests; a share of the cases unless MERE_DS_HOSTILE=all."""

import hashlib
import os
from collections import Counter
from pathlib import Path

import pytest

from tests.hostile.cases import judge
from tests.hostile.children import command
from tests.hostile.material import material

ALL = os.environ.get("MERE_DS_HOSTILE") == "all"
SHARE = 16


def pytest_generate_tests(metafunc) -> None:
    """A test with the argument `case` is run for the cases that its module's CASES name, or a share of each kind."""
    if "case" in metafunc.fixturenames:
        kinds: dict[str, list] = {}
        for case in metafunc.module.CASES:
            kinds.setdefault(case.kind, []).append(case)
        chosen = [case for kind, cases in kinds.items() for case in (cases if ALL else _share(kind, cases))]
        metafunc.parametrize("case", chosen, ids=str)


def _share(kind: str, cases: list) -> list:
    """The same ones each time."""
    chosen = sorted(cases, key=lambda case: hashlib.sha256(f"{kind} {case}".encode()).digest())
    return chosen[: -(-len(cases) // SHARE)]


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def hold(base, tmp_path_factory):
    """hold(case): its verdict, and what is wrong if that is "failed"; `run` as in `judge`."""
    folder = material(base)
    place = tmp_path_factory.mktemp("place") / "here"
    return lambda case, run=command: judge(case, folder, place, run)


def pytest_terminal_summary(terminalreporter) -> None:
    """How many cases of each kind were refused, gave the same answer or another that is right, or failed."""
    table: dict[str, Counter] = {}
    seconds: Counter = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            found = dict(getattr(report, "user_properties", ()))
            if "hostile" in found and getattr(report, "when", "") == "call":
                kind, verdict = found["hostile"].split(": ")
                table.setdefault(kind, Counter())[verdict] += 1
                seconds[kind] += report.duration
    if not table:
        return
    verdicts = ("refused", "same", "answered", "failed")
    terminalreporter.write_line("")
    terminalreporter.write_line(f"{'hostile cases':<16}" + "".join(f"{v:>10}" for v in ("all", *verdicts, "seconds")))
    whole = sum(table.values(), Counter())
    for kind, row in [*table.items(), ("all", whole)]:
        cells = [sum(row.values()), *(row[v] for v in verdicts)]
        terminalreporter.write_line(f"{kind:<16}" + "".join(f"{n:>10,}" for n in cells) + f"{seconds[kind]:>10.0f}")
        seconds["all"] += seconds[kind]
