"""Refusals and broken shards, by train.py started as it is."""

import json
import shutil
import subprocess
import sys

import pytest
from launching import REPOSITORY, deepspeed_config
from ranks import run_ranks


def direct(*flags) -> subprocess.CompletedProcess:
    """train.py started by its path, without a launcher."""
    return subprocess.run(
        [sys.executable, REPOSITORY / "mere_ds" / "train.py", *map(str, flags)], capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--sede=1"], "unknown flag --sede (did you mean --seed?)"),
        (["--epochs=many"], "must be a whole number"),
        (["--epochs"], "--epochs needs a value"),
        ([], "--shards=... is missing"),
    ],
)
def test_misuse_ends_before_any_work(flags, says):
    result = direct(*flags)
    assert result.returncode == 2 and says in result.stderr and result.stderr.count("\n") == 1


def refused(**knobs) -> str:
    """What a rank says that ends for the user's mistake."""
    return run_ranks(1, **knobs).ended(2).stderr[0]


def test_contradictions_and_missing_things_are_one_line(shards, tmp_path):
    ds = json.loads(deepspeed_config(tmp_path).read_text()) | {"gradient_accumulation_steps": 4}
    (tmp_path / "ds4.json").write_text(json.dumps(ds))
    base = {"shards": shards, "run": tmp_path / "r"}
    clash = refused(**base, deepspeed_config=tmp_path / "ds4.json", accumulation=2)
    assert "contradicts gradient_accumulation_steps = 4" in clash
    assert "fp16 needs a GPU" in refused(**base, deepspeed_config=deepspeed_config(tmp_path, precision="fp16"))
    base["deepspeed_config"] = deepspeed_config(tmp_path)
    assert "train stage one first" in refused(**base, stage=2)
    assert f"made with the encoder {shards.with_name('encoder')}, not e5-small" in refused(**base, encoder="e5-small")
    (tmp_path / "empty").mkdir()
    assert "mere-ds shard" in refused(**base | {"shards": tmp_path / "empty"})


def test_a_missing_or_damaged_shard_stops_training_by_name(shards, tmp_path):
    broken = shutil.copytree(shards, tmp_path / "shards")
    shard = broken / "train-00000.tar"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    knobs = {"shards": broken, "run": tmp_path / "r", "deepspeed_config": deepspeed_config(tmp_path), "stage": 1}
    assert "train-00000.tar" in refused(**knobs).splitlines()[-1]
    shard.unlink()
    assert "train-00000.tar: missing" in refused(**knobs, overwrite=True)
