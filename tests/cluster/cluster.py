"""A real Slurm cluster on one machine: each host lives in Linux namespaces of its own and can crash like a machine.

Nothing outlives it: a host's first process ends with pytest, however that ends, and takes along all that runs there,
and with its last process its network goes too.
"""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "ip", "unshare", "nsenter", "setpriv")
DAEMON_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
CONTROLLER, ADDRESS = "ctl", "10.77.0.{}"

SLURM_CONF = """\
ClusterName=test
SlurmctldHost=ctl(10.77.0.254)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# a requeued job waits until its old credential has expired; less than 5 s is refused (and becomes 120)
AuthInfo=socket={folder}/munge.sock,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/ctl.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MinJobAge=3600
SlurmctldTimeout=10
SlurmdTimeout=6
MessageTimeout=5
TCPTimeout=2
KillWait=5
NodeName=node[1-{nodes}] CPUs=8 RealMemory=8000 Gres=gpu:4
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 GraceTime=30
PartitionName=urgent Nodes=ALL PriorityTier=10
"""


def until(condition: Callable[[], object], what: str, seconds: float = 60):
    """Poll until `condition()` is true and return what it gave; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"{seconds} s passed without: {what}"
        time.sleep(0.1)
    return result


UNFINISHED = ("PENDING", "RUNNING", "COMPLETING")
"""States of a job that will have another one."""


class Cluster:
    """node1 to node{nodes}, partitions `main` (jobs there can be preempted) and `urgent`. Use it in a with block."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder, self.nodes = folder, [f"node{i + 1}" for i in range(nodes)]
        self.env = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": DAEMON_PATH}
        self.env |= {"CUDA_VISIBLE_DEVICES": ""}  # the nodes' GPUs are but names
        self.hosts: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> "Cluster":
        self._write_files()
        try:
            f = self.folder
            munged = (
                f"munged --force --key-file={f}/key --socket={f}/munge.sock --seed-file={f}/seed"
                f" --pid-file={f}/munged.pid --log-file={f}/munged.log"
            )
            self._start(CONTROLLER, 254, "ip link add eth0 type bridge", f"{munged} && exec slurmctld -D")
            for node in self.nodes:
                self.boot(node)
            until(lambda: self.states() == ["idle"] * len(self.nodes), "every node idle")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        for host in self.hosts.values():
            host.kill()
        for host in self.hosts.values():
            host.wait()

    def _write_files(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "state").mkdir()
        key = self.folder / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        (self.folder / "slurm.conf").write_text(SLURM_CONF.format(folder=self.folder, nodes=len(self.nodes)))
        for i in range(4):
            (self.folder / f"gpu{i}").touch()
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-3]\n")
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        names = "".join(f"{ADDRESS.format(i + 1)} {node}\n" for i, node in enumerate(self.nodes))
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n{ADDRESS.format(254)} ctl\n{names}")

    def _start(self, name: str, number: int, eth0: str, daemon: str) -> None:
        """A host: `daemon` is its init process, whose death the kernel makes the death of all the host's processes.

        `eth0` is what gives it a network device.
        """
        script = (
            f"hostname {name} && mount --bind {self.folder}/hosts /etc/hosts && {eth0} && ip link set lo up"
            f" && ip link set eth0 up && ip addr add {ADDRESS.format(number)}/24 dev eth0 && {daemon}"
        )
        with (self.folder / f"{name}.log").open("ab") as log:
            self.hosts[name] = host = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", "unshare", "--net", "--uts", "--mount", "--pid", "--fork",
                 "--kill-child", "--mount-proc", "bash", "-c", script],
                env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
            )  # fmt: skip
        ours = os.readlink("/proc/self/ns/net")
        until(lambda: os.readlink(f"/proc/{host.pid}/ns/net") != ours, f"{name} has its own network")

    def boot(self, node: str) -> None:
        """Start a node, or start it again after a crash."""
        wire = "until ip link show eth0; do sleep 0.05; done 2> /dev/null"
        self._start(node, self.nodes.index(node) + 1, wire, f"exec slurmd -D -N {node}")
        # the bridge may not be there yet, for the controller's host has only just been started
        bridge = "until ip link show eth0; do sleep 0.05; done > /dev/null 2>&1"
        pair = f"ip link add {node} type veth peer name eth0 netns {self.hosts[node].pid}"
        self._in_network("bash", "-c", f"{bridge}; {pair} && ip link set {node} master eth0 up", check=True)

    def crash(self, node: str) -> None:
        """Power failure: the network falls silent, without a goodbye on any connection, and all processes are gone."""
        self._in_network("ip", "link", "del", node, check=True)
        self.hosts[node].kill()
        self.hosts.pop(node).wait()

    def command(self, *argv, cwd: Path | None = None, check: bool = True) -> str:
        """What a Slurm command prints, run on the controller's host."""
        result = self._in_network(*map(str, argv), cwd=cwd, capture_output=True, text=True, timeout=30)
        assert not check or result.returncode == 0, f"{argv}: {result.stdout}{result.stderr}"
        return result.stdout

    def _in_network(self, *argv: str, **how) -> subprocess.CompletedProcess:
        network = f"--net=/proc/{self.hosts[CONTROLLER].pid}/ns/net"
        return subprocess.run(["nsenter", network, *argv], env=self.env, **how)

    def states(self) -> list[str]:
        return self.command("sinfo", "--noheader", "-N", "-p", "main", "-o", "%T", check=False).split()

    def job(self, number: str) -> dict[str, str]:
        """What `scontrol show job` tells: JobState, Restarts, ExitCode and so on."""
        words = self.command("scontrol", "-o", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)


def require(*programs: str) -> None:
    """Skip the test where these aren't installed; fail it in continuous integration, where they must be."""
    absent = [p for p in programs if shutil.which(p, path=DAEMON_PATH) is None]
    if absent:
        unavailable(f"not installed: {', '.join(absent)}")


def unavailable(reason: str) -> None:
    (pytest.fail if os.environ.get("MERE_DS_NEED_SLURM") else pytest.skip)(reason)
