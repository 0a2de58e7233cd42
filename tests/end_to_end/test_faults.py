"""Faults from outside while real processes train: one line says what happened, all ranks end, the same command resumes.

`pytest -rP` shows the seconds from fault to end. That nothing is lost bit by bit is shown in tests/training/.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from launching import BIN, REPOSITORY, deepspeed_config, environment, free_port, records
from ranks import Forked, places, rank

TRAIN = REPOSITORY / "mere_ds" / "train.py"
STEPS, MISUSE, MACHINE, LEFT_EARLY = 36, 2, 1, 85
SOON = 30
"""Seconds in which a killed rank must have ended all others."""


class Training:
    """One command, started again and again: by DeepSpeed's launcher, or rank by rank."""

    def __init__(self, shards: Path, folder: Path) -> None:
        self.run, self.shards = folder / "run", shards
        self.programs: list[subprocess.Popen] = []
        self.ranks: list[Forked] = []
        self.checkpoints = self.run / "checkpoints" / "stage1"
        self.flags = [
            "--stage=1", f"--shards={shards}", f"--run={self.run}", f"--deepspeed_config={deepspeed_config(folder)}",
            f"--max_steps={STEPS}", "--save_steps=10", "--log_every=1", "--bottleneck=64", "--learning_rate=1e-3",
        ]  # fmt: skip

    def by_launcher(self) -> subprocess.Popen:
        return self._start(
            [
                "env",
                "--default-signal=INT",
                BIN / "deepspeed",
                "--num_gpus=2",
                f"--master_port={free_port()}",
                TRAIN,
                *self.flags,
            ]
        )

    def by_rank(self, *flags: str, ranks: int = 2) -> list[Forked]:
        return [self.one_rank(place, *flags) for place in places(ranks)]

    def one_rank(self, place: dict[str, object], *flags: str) -> Forked:
        self.ranks.append(rank([*self.flags, *flags], place))
        return self.ranks[-1]

    def in_namespace(self, script: str) -> subprocess.Popen:
        """A shell script with mounts of its own in which `$TRAIN` is the command, on one rank."""
        command = shlex.join(map(str, [sys.executable, TRAIN, *self.flags]))
        return self._start(["unshare", "--map-root-user", "--mount", "sh", "-c", script], {"TRAIN": command})

    def _start(self, command: list, env: dict[str, str] | None = None) -> subprocess.Popen:
        process = subprocess.Popen(
            list(map(str, command)), env=environment() | (env or {}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip
        self.programs.append(process)
        return process

    def wait_for_save(self, after: str | None = None) -> str:
        """Wait until the latest checkpoint is another one than `after`; its name. The first is made in epoch one."""
        latest = self.checkpoints / "latest"
        wait_until(lambda: latest.exists() and latest.readlink().name != after)
        return latest.readlink().name

    def goes_on_to_the_end(self) -> None:
        """The same command again: it begins with the last checkpoint, and all steps are on record once."""
        last = (self.checkpoints / "latest").readlink().name
        codes, said = outcome(*self.by_rank())
        assert codes == [0, 0] and f"resumes from {last}\n" in said, said
        assert [record["step"] for record in records(self.run)] == list(range(1, STEPS + 1))
        assert json.loads((self.checkpoints / "latest/training.json").read_text())["finished"]


@pytest.fixture
def training(shards, tmp_path):
    training = Training(shards, tmp_path)
    yield training
    for process in training.ranks:
        process.end()
    for process in training.programs:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        with process:
            process.kill()


needs_mounts = pytest.mark.skipif(
    subprocess.run(["unshare", "--map-root-user", "--mount", "true"], capture_output=True).returncode != 0,
    reason="this machine lets nobody mount a small disk (no user namespaces)",
)


def wait_until(condition: Callable[[], object], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def outcome(*processes: subprocess.Popen | Forked, within: float = 300) -> tuple[list[int], str]:
    """Exit codes and what was said, once these have ended by themselves; `within` seconds, or the test fails."""
    started = time.monotonic()
    said = "".join(p.communicate(timeout=max(1, within + started - time.monotonic()))[0] for p in processes)
    print(f"ended after {time.monotonic() - started:.1f} s\n{said}")
    return [p.returncode for p in processes], said


def ranks_under(launcher: subprocess.Popen) -> list[psutil.Process]:
    """The processes that a launcher has started as ranks, in their order."""
    below = [p for p in psutil.Process(launcher.pid).children(recursive=True) if str(TRAIN) in p.cmdline()]
    return sorted((p for p in below if "RANK" in p.environ()), key=lambda p: int(p.environ()["RANK"]))


def lines_about(rank: int, pid: int, said: str) -> list[str]:
    """What the output tells of a rank by its full name."""
    return re.findall(rf"rank {rank} \({re.escape(socket.gethostname())}, pid {pid}\):? (.+)", said)


def test_a_killed_rank_is_named_and_the_run_goes_on(training):
    """Rank 0 under the launcher, which ends the other one; then rank 1, whose end rank 0 must find by itself."""
    launcher = training.by_launcher()
    saved = training.wait_for_save()
    lost, survivor = ranks_under(launcher)
    lost.kill()
    (code,), said = outcome(launcher, within=SOON)
    assert code != 0 and lines_about(0, lost.pid, said) == ["died"], said
    assert not survivor.is_running() and "Traceback" not in said, said
    zero, one = training.by_rank()
    training.wait_for_save(after=saved)
    one.send_signal(signal.SIGKILL)
    (code,), said = outcome(zero, within=SOON)
    assert code == MACHINE and lines_about(1, one.pid, said) == ["died"] and "Traceback" not in said, said
    training.goes_on_to_the_end()


def test_ctrl_c_saves_and_the_run_goes_on(training):
    """A terminal sends it to the launcher and all ranks; what the launcher says of it is its own."""
    training.flags[4:6] = ["--max_steps=30000", "--epochs=1000", "--save_steps=1000"]
    launcher = training.by_launcher()
    wait_until(lambda: training.run.joinpath("metrics.jsonl").exists() and len(records(training.run)) > 2)
    ranks = ranks_under(launcher)
    os.killpg(launcher.pid, signal.SIGINT)
    (code,), said = outcome(launcher, within=SOON)
    wait_until(lambda: not any(rank.is_running() for rank in ranks), seconds=SOON)
    left = re.findall(r"stage 1 was asked to stop: exiting after step (\d+)", said)
    assert code != 0 and len(left) == 1 and said.count("press Ctrl-C again to quit now") == 1, said
    assert (training.checkpoints / "latest").readlink().name == f"step-{int(left[0]):08d}"
    assert "mere_ds" not in "".join(re.findall(r'File "(.*?)"', said)), "no traceback of ours"
    assert not training.run.joinpath("writer.json").exists()


@pytest.mark.parametrize("victim", [0, 1])
def test_a_frozen_rank_is_named_and_ends_the_others_in_time(training, victim):
    ranks = training.by_rank("--timeout=10")
    training.wait_for_save()
    ranks[victim].send_signal(signal.SIGSTOP)
    (code,), said = outcome(ranks[1 - victim], within=10 + SOON)
    assert code == MACHINE, said
    assert lines_about(victim, ranks[victim].pid, said) == ["hangs: no heartbeat for 8 s"]
    ranks[victim].send_signal(signal.SIGCONT)
    (code,), said = outcome(ranks[victim], within=SOON)
    assert code == MACHINE and lines_about(1 - victim, ranks[1 - victim].pid, said) == []


def test_a_shard_that_is_lost_or_damaged_is_named_and_the_run_goes_on(training, tmp_path):
    """Epoch two can't read it again; a digest guards every reading."""
    good = training.shards / "train-00000.tar"
    broken = shutil.copytree(training.shards, tmp_path / "shards")
    training.flags[1] = f"--shards={broken}"

    def damage() -> None:
        content = bytearray(good.read_bytes())
        content[len(content) // 2] ^= 1
        (broken / good.name).write_bytes(content)

    for spoil, says in (((broken / good.name).unlink, "No such file"), (damage, "sha256")):
        shutil.rmtree(training.run, ignore_errors=True)
        ranks = training.by_rank()
        training.wait_for_save()
        spoil()
        codes, said = outcome(*ranks)
        assert codes == [MISUSE, MISUSE] and said.count(str(broken / good.name)) == 1 and says in said, said
        shutil.copy(good, broken)
    training.goes_on_to_the_end()


@needs_mounts
def test_a_full_disk_is_one_line_and_after_room_was_made_the_run_goes_on(training, tmp_path):
    """A small disk, real: the first checkpoint fits, the second doesn't. Of what is left there copies are kept."""
    script = f"""
        mkdir {training.run} && mount -t tmpfs -o size=5m none {training.run} || exit 99
        $TRAIN; echo "full: $?"
        cp -a {training.run} {tmp_path}/full
        (cd {training.checkpoints}/latest && sha256sum --check --strict --quiet SHA256SUMS && echo "still whole")
        mount -o remount,size=200m {training.run}
        $TRAIN; echo "with room: $?"
        cp -a {training.run} {tmp_path}/roomy
    """
    codes, said = outcome(training.in_namespace(script))
    full, _, roomy = said.partition("full: 1\n")
    assert codes == [0] and "with room: 0\n" in roomy and "still whole\n" in roomy, said
    assert full.splitlines()[-1].count("No space left on device") == 1 and "Traceback" not in full, full
    last = (tmp_path / "full/checkpoints/stage1/latest").readlink().name
    assert f"resumes from {last}\n" in roomy, said
    assert [record["step"] for record in records(tmp_path / "roomy")] == list(range(1, STEPS + 1))


@needs_mounts
def test_a_read_only_run_folder_is_one_line(training):
    script = f"""
        mkdir {training.run} && mount --bind {training.run} {training.run} || exit 99
        mount -o remount,bind,ro {training.run} || exit 99
        exec $TRAIN
    """
    codes, said = outcome(training.in_namespace(script))
    assert codes == [MISUSE] and said == f"train.py: --run={training.run}: not writable\n"


def test_ranks_that_cannot_meet_say_why(training):
    with socket.create_server(("", 0)) as other:
        taken = other.getsockname()[1]
        zero, one = places(2)
        unreachable = training.one_rank(one, "--timeout=2")
        port_taken = training.one_rank(zero | {"MASTER_PORT": taken})
        unknown = training.one_rank(one | {"MASTER_ADDR": "node7.invalid"})
        codes, said = outcome(unreachable)
        address = f"127.0.0.1:{one['MASTER_PORT']}"
        assert codes == [MACHINE]
        assert said == f"train.py, rank 1: rank 1 can't connect to rank 0 at {address}: Connection refused\n"
        codes, said = outcome(port_taken)
        assert codes == [MACHINE] and f"port {taken}" in said and "--master_port" in said and said.count("\n") == 1
        codes, said = outcome(unknown)
        assert codes[0] in (MISUSE, MACHINE) and "MASTER_ADDR=node7.invalid" in said and said.count("\n") == 1
    assert not training.run.exists()


def test_a_second_writer_is_refused_and_the_first_goes_on(training):
    training.flags[4:5] = ["--max_steps=30000", "--epochs=1000"]
    (first,) = training.by_rank(ranks=1)
    last = training.wait_for_save()
    codes, said = outcome(*training.by_rank(ranks=1))
    assert codes == [MACHINE] and said.count("\n") == 1, said
    assert f"process {first.pid} on {socket.gethostname()} is writing here" in said and str(training.run) in said
    training.wait_for_save(after=last)
    first.send_signal(signal.SIGTERM)
    assert outcome(first)[0] == [LEFT_EARLY]
    assert not training.run.joinpath("writer.json").exists()
