"""Several nodes by hand: a launcher a node, with DeepSpeed's hostfile and with torchrun (Slurm: tests/cluster)."""

import pytest
from launching import REPOSITORY, deepspeed_config, free_port, start_program, weights
from ranks import run_ranks

TRAIN = REPOSITORY / "mere_ds" / "train.py"


def knobs(shards, run) -> dict[str, object]:
    return {
        "stage": 1, "shards": shards, "run": run, "deepspeed_config": deepspeed_config(run.parent),
        "max_steps": 4, "bottleneck": 64,
    }  # fmt: skip


def hostfile_node(folder, node: int, port: int) -> list:
    (folder / "hostfile").write_text("127.0.0.1 slots=1\nlocalhost slots=1\n")  # two names of this machine
    return [
        "deepspeed", f"--hostfile={folder / 'hostfile'}", "--no_ssh", f"--node_rank={node}",
        "--master_addr=127.0.0.1", f"--master_port={port}", TRAIN,
    ]  # fmt: skip


def torchrun_node(folder, node: int, port: int) -> list:
    return [
        "torchrun", "--nnodes=2", "--nproc-per-node=1", f"--node-rank={node}", "--master-addr=127.0.0.1",
        f"--master-port={port}", "--", TRAIN,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def on_one_node(shards, tmp_path_factory):
    """Weights of 2 ranks on one node."""
    run = tmp_path_factory.mktemp("launchers") / "run"
    run_ranks(2, **knobs(shards, run)).ended(0)
    return weights(run, 1)


@pytest.mark.parametrize("node_command", [hostfile_node, torchrun_node])
def test_two_nodes_train_what_one_node_with_two_ranks_does(shards, tmp_path, on_one_node, node_command):
    run, port = tmp_path / "run", free_port()
    flags = [f"--{name}={value}" for name, value in knobs(shards, run).items()]
    nodes = [start_program(*node_command(tmp_path, node, port), *flags) for node in (0, 1)]
    try:
        for node in nodes:
            said, _ = node.communicate(timeout=300)
            assert node.returncode == 0, said[-3000:]
    finally:
        for node in nodes:
            node.kill()
    trained = weights(run, 1)
    assert trained.keys() == on_one_node.keys()
    assert all(trained[name].equal(on_one_node[name]) for name in trained)
