"""What a run left behind, in a form that tests compare."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load_file

TIMING = (
    *("time", "sentences_per_second", "tokens_per_second", "tflops_per_second", "peak_share", "memory_mib"),
    *("waiting_share", "slowest_rank", "slowest_rank_waiting_share"),
)


def checkpoint(run: Path, stage: int, which: str = "latest") -> Path:
    return run / "checkpoints" / f"stage{stage}" / which


def starts(run: Path) -> list[dict]:
    """What each start of a stage was made by."""
    return [json.loads(line) for line in (run / "starts.jsonl").read_text().splitlines()]


def names(run: Path, stage: int) -> set[str]:
    """All that lies in a stage's folder of checkpoints."""
    return {path.name for path in (run / "checkpoints" / f"stage{stage}").iterdir()}


def state(run: Path, stage: int, which: str = "latest") -> dict:
    """All that a checkpoint says of the training but what the stage was told and what made this start."""
    state = json.loads((checkpoint(run, stage, which) / "training.json").read_text())
    del state["told"], state["start"]
    return state


def tensors(run: Path, stage: int, which: str = "latest") -> dict[str, torch.Tensor]:
    """Weights and optimizer state."""
    folder = checkpoint(run, stage, which)
    return load_file(folder / "model.safetensors") | load_file(folder / "optimizer.safetensors")


def metrics(run: Path) -> list[dict]:
    """All records, without what the clock decides."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMING} for row in rows]


def assert_same_tensors(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different, f"{len(different)} of {len(one)} tensors differ: {different[:5]}"


def assert_same_results(run: Path, reference: Path, stages: tuple[int, ...] = (1, 2)) -> None:
    """Bit by bit: last and best weights, optimizer state, counters, every record."""
    for stage in stages:
        for which in ("latest", "best"):
            assert checkpoint(run, stage, which).resolve().name == checkpoint(reference, stage, which).resolve().name
            assert_same_tensors(tensors(run, stage, which), tensors(reference, stage, which))
        assert state(run, stage) == state(reference, stage)
    assert metrics(run) == metrics(reference)


def is_whole(folder: Path) -> bool:
    """As `sha256sum -c SHA256SUMS` sees it, every other file being listed."""
    lines = [line.split("  ") for line in (folder / "SHA256SUMS").read_text().splitlines()]
    listed = {name: digest for digest, name in lines}
    there = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.name != "SHA256SUMS"}
    return bool(there) and listed == there
