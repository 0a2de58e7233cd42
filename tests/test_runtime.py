"""An exported ONNX model in use without torch, transformers and all else of training.

In this environment with those libraries hidden, and in one that has never had them, which MERE_DS_RUNTIME names by its
python: `python3 -m venv .runtime && .runtime/bin/pip install ".[runtime]"`.
"""

import json
import os
import subprocess
import sys

import pytest

from mere_ds import optional_libraries
from mere_ds.exporting.making import export_model
from mere_ds.inference import Extractor
from tests.small_model import LANGUAGES, TEXTS, leave_run

pytestmark = pytest.mark.slow

OF_TRAINING = optional_libraries.EXTRAS["train"]
HIDDEN = f"""
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {(*OF_TRAINING, "onnx", "safetensors")!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""
CHECKED = f"assert not set({OF_TRAINING!r}) & sys.modules.keys()\n"


def run_here(code: str, *arguments: str) -> str:
    return run([sys.executable, "-c", HIDDEN + code + CHECKED, *arguments])


def run_there(code: str, *arguments: str) -> str:
    python = os.environ.get("MERE_DS_RUNTIME")
    if not python:
        pytest.skip("MERE_DS_RUNTIME doesn't name an environment without torch")
    absent = f"import importlib.util, sys\nassert not any(map(importlib.util.find_spec, {OF_TRAINING!r}))\n"
    return run([python, "-I", "-c", absent + code + CHECKED, *arguments])


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return leave_run(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def folder(run_folder, tmp_path_factory):
    return str(export_model(run_folder, tmp_path_factory.mktemp("exported") / "model", to="onnx").folder)


def rounded(answer: dict) -> dict:
    return answer | {"triples": [t | {"score": pytest.approx(t["score"], abs=1e-4)} for t in answer["triples"]]}


@pytest.mark.parametrize("run_code", [run_here, run_there])
def test_the_library_answers_as_torch_does(run_folder, folder, run_code):
    extractor = Extractor.load(run_folder, precision="fp32")
    expected = [rounded(answer) for answer in extractor.extract(TEXTS, LANGUAGES)]
    code = (
        "import json, mere_ds\n"
        "model = mere_ds.load(sys.argv[1], threads=1)\n"
        "print(json.dumps([answer.to_dict() for answer in model.extract(*map(json.loads, sys.argv[2:]))]))\n"
    )
    assert json.loads(run_code(code, folder, json.dumps(TEXTS), json.dumps(LANGUAGES))) == expected


@pytest.mark.parametrize("run_code", [run_here, run_there])
def test_the_command_answers_as_torch_does(run_folder, folder, run_code):
    (expected,) = Extractor.load(run_folder, precision="fp32").extract(TEXTS[:1], "de")
    code = (
        "from mere_ds.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n    assert not ended.code, ended.code\n"
    )
    (line,) = run_code(code, "extract", folder, TEXTS[0], "--lang=de").splitlines()
    assert json.loads(line) == rounded(expected)


@pytest.mark.parametrize("run_code", [run_here, run_there])
def test_a_model_that_needs_torch_says_what_to_install(run_folder, run_code):
    code = (
        "import mere_ds\n"
        "try:\n    mere_ds.load(sys.argv[1])\n"
        "except mere_ds.errors.UserError as error:\n    print(error)\n"
    )
    said = run_code(code, str(run_folder))
    assert "pip install 'mere-ds[train]'" in said and said.count("\n") == 1
