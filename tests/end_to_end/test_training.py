"""Refusals and broken shards, by train.py started as it is."""

import json
import shutil
import subprocess
import sys

import pytest
from launching import REPOSITORY, deepspeed_config


def direct(*flags) -> subprocess.CompletedProcess:
    """train.py started by its path, without a launcher."""
    return subprocess.run(
        [sys.executable, REPOSITORY / "mere_ds" / "train.py", *map(str, flags)], capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--sede=1"], "unknown flag --sede (did you mean seed?)"),
        (["--epochs=many"], "a whole number is wanted"),
        (["--epochs"], "--epochs wants a value"),
        ([], "--shards=... is missing"),
    ],
)
def test_misuse_ends_before_any_work(flags, says):
    result = direct(*flags)
    assert result.returncode == 2 and says in result.stderr and result.stderr.count("\n") == 1


def test_contradictions_and_missing_things_are_one_line(shards, tmp_path):
    ds = json.loads(deepspeed_config(tmp_path).read_text()) | {"gradient_accumulation_steps": 4}
    (tmp_path / "ds4.json").write_text(json.dumps(ds))
    base = [f"--shards={shards}", f"--run={tmp_path / 'r'}"]
    clash = direct(*base, f"--deepspeed_config={tmp_path / 'ds4.json'}", "--accumulation=2")
    assert clash.returncode == 2 and "contradicts gradient_accumulation_steps = 4" in clash.stderr
    fp16 = direct(*base, f"--deepspeed_config={deepspeed_config(tmp_path, precision='fp16')}")
    assert fp16.returncode == 2 and "fp16 needs a GPU" in fp16.stderr
    no_stage_one = direct(*base, f"--deepspeed_config={deepspeed_config(tmp_path)}", "--stage=2")
    assert no_stage_one.returncode == 2 and "train stage one first" in no_stage_one.stderr
    other_encoder = direct(*base, f"--deepspeed_config={deepspeed_config(tmp_path)}", "--encoder=e5-small")
    assert other_encoder.returncode == 2 and "made with the encoder tiny, not e5-small" in other_encoder.stderr
    no_shards = direct(f"--shards={tmp_path}", base[1], f"--deepspeed_config={deepspeed_config(tmp_path)}")
    assert no_shards.returncode == 2 and "mere-ds shard" in no_shards.stderr


def test_a_missing_or_damaged_shard_stops_training_by_name(shards, tmp_path):
    broken = shutil.copytree(shards, tmp_path / "shards")
    shard = broken / "train-00000.tar"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    flags = [f"--shards={broken}", f"--run={tmp_path / 'r'}", f"--deepspeed_config={deepspeed_config(tmp_path)}"]
    damaged = direct("--stage=1", *flags)
    assert damaged.returncode == 2 and "train-00000.tar" in damaged.stderr.splitlines()[-1]
    shard.unlink()
    missing = direct("--stage=1", *flags, "--overwrite")
    assert missing.returncode == 2 and "train-00000.tar: this shard is missing" in missing.stderr
