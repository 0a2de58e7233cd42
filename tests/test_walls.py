"""Who may import whom: the street has no way back."""

import ast
import re
from pathlib import Path

import mere_ds

ROOT = Path(mere_ds.__file__).parent

MAY_IMPORT = {
    "errors": set(),
    "import_hooks": set(),
    "auto_classes": {"import_hooks"},
    "files": {"errors"},
    "transformers_contents": {"files", "import_hooks"},
    "sums": {"errors", "files"},
    "knobs": {"errors"},
    "config": {"errors", "files", "knobs"},
    "streams": set(),
    "columns": set(),
    "parts": {"errors"},
    "network": set(),
    "torch_environment": set(),
    "hub_files": {"errors"},
    "versions": set(),
    "optional_libraries": {"errors"},
    "flags": {"errors", "files", "optional_libraries", "streams", "transformers_contents", "versions"},
    "lease": {"errors"},
    "target": {"errors", "files", "lease"},
    "runs": {"versions", "hub_files", "errors", "files", "sums", "knobs", "config"},
    "ranks": {"errors"},
    "corpus": {"errors", "files", "columns", "network", "optional_libraries", "streams", "knobs"},
    "converting": {"versions", "errors", "files", "target", "corpus"},
    "encoders": {"hub_files", "errors", "files", "optional_libraries", "sums"},
    "shards": {
        *("versions", "errors", "files", "columns", "parts", "network", "sums", "optional_libraries", "target"),
        *("corpus", "encoders"),
    },
    "fused": set(),
    "model": {"errors", "files", "sums", "config", "encoders", "fused"},
    "backends": {"torch_environment", "errors", "files", "config", "sums", "optional_libraries", "runs", "model"},
    "language_detection": {"errors", "optional_libraries"},
    "inference": {
        *("errors", "files", "streams", "config", "runs", "encoders", "shards", "model"),
        *("backends", "language_detection"),
    },
    "documents": {"errors", "streams", "config", "corpus", "shards", "language_detection", "inference"},
    "api": {"errors", "streams", "config", "runs", "language_detection", "inference", "documents"},
    "spacy_component": {"errors", "files", "optional_libraries", "config", "api"},
    "serving": {
        *("errors", "files", "knobs", "config", "runs", "corpus", "shards"),
        *("language_detection", "inference", "documents"),
    },
    "evaluation": {
        *("versions", "errors", "files", "columns", "sums", "config", "runs"),
        *("corpus", "encoders", "shards", "model", "inference"),
    },
    "graphs": {"errors", "files", "optional_libraries", "encoders", "shards", "model", "backends"},
    "exporting": {
        *("errors", "files", "sums", "target", "config", "runs", "corpus", "encoders", "shards", "model", "backends"),
        *("evaluation", "graphs"),
    },
    "training": {
        *("errors", "files", "columns", "sums", "optional_libraries", "lease", "knobs", "config", "runs", "ranks"),
        *("corpus", "encoders", "shards", "fused", "model", "evaluation"),
    },
    "pretraining": {
        *("errors", "files", "sums", "lease", "knobs", "config", "runs", "ranks"),
        *("corpus", "encoders", "model", "training"),
    },
    "train": {"sums", "flags", "knobs", "config", "runs", "ranks", "training"},
    "reproduction": {
        *("errors", "files", "sums", "knobs", "config", "flags", "runs", "ranks"),
        *("corpus", "encoders", "shards", "evaluation", "training", "train"),
    },
    "bulk": {
        *("errors", "files", "sums", "streams", "versions", "parts", "lease", "knobs", "config", "runs", "corpus"),
        "inference",
    },
    "use_commands": {
        *("versions", "errors", "files", "knobs", "config", "runs", "backends", "inference", "documents", "bulk"),
    },
    "corpus_commands": {"parts", "flags", "knobs", "config", "converting", "corpus", "shards"},
    "cli": {
        *(
            "torch_environment",
            "errors",
            "files",
            "knobs",
            "config",
            "flags",
            "runs",
            "train",
            "corpus_commands",
            "use_commands",
        ),
        *("pretraining", "evaluation", "exporting", "reproduction", "serving"),
    },
}
"""By module of the package, what it may import: only what stands above it."""

ONLY_IN = {
    **{"wandb": {"training"}, "mlflow": {"training"}},
    **{"deepspeed": {"ranks", "training"}, "webdataset": {"shards"}, "fire": {"flags"}, "py7zr": {"corpus"}},
    **{"matplotlib": {"evaluation"}, "regex": {"corpus"}, "sentencex": {"corpus"}},
    **{
        "eldc": {"language_detection"},
        "cassis": {"corpus"},
        "pyarrow": {"corpus"},
        "spacy": {"corpus", "spacy_component"},
    },
    **{"starlette": {"serving"}, "uvicorn": {"serving"}, "prometheus_client": {"serving"}},
    **{"s3fs": {"shards"}, "gcsfs": {"shards"}, "adlfs": {"shards"}},
    **{"onnx": {"graphs"}, "onnxruntime": {"backends", "graphs"}},
}


def imports():
    """(room, imported module) of every import statement in the package."""
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((room, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [f"mere_ds.{a.name}" for a in node.names] if node.module == "mere_ds" else [node.module]
                yield from ((room, name) for name in names)


def test_rooms_import_only_what_lies_before_them_on_the_street():
    for room, module in imports():
        if module.startswith("mere_ds.") and room != "__init__":
            target = module.removeprefix("mere_ds.")
            allowed = MAY_IMPORT[room] | {room}
            assert any(target == a or target.startswith(a + ".") for a in allowed), f"{room} imports {module}"


def test_the_order_has_no_way_back():
    above = set()
    for room, others in MAY_IMPORT.items():
        assert others <= above, room
        above.add(room)


def test_each_library_has_its_one_room():
    seen = {}
    for room, module in imports():
        seen.setdefault(module.split(".")[0], set()).add(room)
    for library, rooms in ONLY_IN.items():
        assert seen[library] == rooms


def test_nothing_is_named_after_a_top_level_package():
    taken = {"kernels", "datasets", "evaluate", "logging", "tokenizers", "inspect", "types", "random", "typing", "json"}
    assert not taken & {p.stem for p in ROOT.rglob("*") if p.suffix == ".py" or p.is_dir()}


def test_the_diagram_of_the_layers_shows_all():
    design = (ROOT.parent / "docs" / "design.md").read_text(encoding="utf-8")
    diagram = design.split("```")[1]
    names = re.findall(r"^(?:\w+|\w+, \w+)? +(\w+)/?  ", diagram, re.M)
    assert sorted(names) == sorted(MAY_IMPORT)
    assert all(names.index(other) < names.index(room) for room, others in MAY_IMPORT.items() for other in others)
