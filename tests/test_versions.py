"""What a result was made by: the commit is that of this program's checkout or none, and nothing is asked that fails."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import mere_ds
from mere_ds.versions import commit, cpu_model, made_by


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@b")
    done = subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path) -> Path:
    """A package in a repository of its own, with one commit and a tag."""
    folder = tmp_path / "checkout" / "mere_ds"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    git(folder.parent, "init", "--quiet")
    git(folder.parent, "add", ".")
    git(folder.parent, "commit", "--quiet", "--message=First")
    git(folder.parent, "tag", "v1")
    return folder


def test_the_commit_of_a_checkout(package):
    head = git(package, "rev-parse", "HEAD")
    assert len(head) == 40 and commit(package) == head
    (package / "beside.txt").write_text("not tracked, so it changes nothing")
    assert commit(package) == head
    (package / "__init__.py").write_text("1")
    assert commit(package) == f"{head}-dirty"


def test_a_package_that_was_installed_into_another_projects_checkout_has_no_commit(package):
    installed = package.parent / ".venv" / "mere_ds"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert commit(installed) is None


def test_no_commit_and_no_error_without_repository_or_git(tmp_path, package, monkeypatch):
    assert commit(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(package) is None


def test_another_repository_that_the_environment_names_is_not_asked(package, tmp_path, monkeypatch):
    head = git(package, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other"))
    assert commit(package) == head


def test_what_is_recorded(monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["python", "train.py", "--run=a b"])
    made = json.loads(json.dumps(made_by(ranks=3)))
    assert made["versions"]["mere_ds"] == mere_ds.__version__
    assert made["versions"]["deepspeed"] == metadata.version("deepspeed")
    assert made["commit"] == commit()
    assert made["command"] == "python train.py '--run=a b'"
    assert made["hardware"]["ranks"] == 3 and made["hardware"]["count"] >= 1 and made["hardware"]["device"]


def test_the_processors_name():
    assert cpu_model().strip()
