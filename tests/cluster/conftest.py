"""The cluster, a small synthetic corpus, and what an undisturbed training makes of it."""

import os
from pathlib import Path

import pytest
from cluster import PROGRAMS, Cluster, require, unavailable, until
from launching import deepspeed_config, mere_ds, succeeded
from ranks import run_ranks
from submitting import Job

KNOBS = (
    *("--max_steps=70", "--batch_size=8", "--log_every=1", "--learning_rate=1e-3", "--bottleneck=192"),
    *("--word_dropout=0.05", "--epochs_stage_two=1"),
)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    require(*PROGRAMS)
    if os.geteuid() != 0:
        unavailable("making a cluster's hosts needs root")
    with Cluster(tmp_path_factory.mktemp("cluster"), nodes=4) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def knobs(tmp_path_factory) -> tuple[str, ...]:
    """Shards, DeepSpeed's config and the other knobs of every training here."""
    folder = tmp_path_factory.mktemp("data")
    succeeded(mere_ds("synthesize", folder / "corpus", "--sentences=1500", "--seed=3"))
    succeeded(mere_ds("shard", folder / "corpus", folder / "shards", "--encoder=tiny"))
    return (f"--shards={folder / 'shards'}", f"--deepspeed_config={deepspeed_config(folder)}", *KNOBS)


@pytest.fixture(scope="session")
def reference(knobs, tmp_path_factory) -> Path:
    """Run folder of stage one on 2 ranks without any cluster or fault."""
    run = tmp_path_factory.mktemp("reference") / "run"
    named = dict(knob.removeprefix("--").split("=", 1) for knob in knobs)
    run_ranks(2, stage=1, run=run, deadline=300, **named).ended(0)
    return run


@pytest.fixture
def run(tmp_path) -> Path:
    """A run folder in whose path is a space."""
    folder = tmp_path / "the run"
    folder.mkdir()
    return folder


@pytest.fixture
def submit(cluster, run):
    """Submits stage one; afterwards nothing is left in the queue and all nodes are up."""
    yield lambda *knobs, **how: Job.submit(cluster, run, *knobs, **how)
    cluster.command("scancel", "--user=root")
    for node in cluster.nodes:
        if node not in cluster.hosts:
            cluster.boot(node)
    until(lambda: cluster.states() == ["idle"] * len(cluster.nodes), "every node idle")


@pytest.fixture
def lost(record_property):
    """Notes, and shows under `pytest -s`, how many seconds a fault cost."""

    def note(fault: str, seconds: float) -> None:
        record_property(fault, seconds)
        print(f"\n{fault}: {seconds:.1f} s from the fault to the next step")

    return note
