"""A real SLURM of two virtual nodes on this machine, for the tests, without systemd."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

DAEMONS = ('munged', 'slurmctld', 'slurmd')
# Names of nodes that resolve everywhere; SLURM writes 127.0.0.[2-3].
NODES = ('127.0.0.2', '127.0.0.3')
GPUS = 4

CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.sock
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool.%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.%n.log
PlugStackConfig={root}/plugstack.conf
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=20
MessageTimeout=30
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
GresTypes=gpu
NodeName={nodes[0]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} {node}
NodeName={nodes[1]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} {node}
PartitionName=test Nodes={nodes[0]},{nodes[1]} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Why SLURM's daemons cannot run here; None if they can."""
    missing = [name for name in DAEMONS if not _path_of(name)]
    if missing:
        packages = 'slurmctld slurmd slurm-client munge'
        return f'needs SLURM ({", ".join(missing)}): apt-get install {packages}'
    if os.geteuid() != 0:
        return f"SLURM's daemons need root, and this is {getpass.getuser()}"
    return None


class Slurm:
    """The daemons, from `start` to `stop`.

    Args:
        root: An empty folder of their own, with a short path (a socket lies in it).
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {'SLURM_CONF': str(root / 'slurm.conf')}
        self._running: dict[str, subprocess.Popen] = {}

    def start(self) -> None:
        """Start them and wait until both nodes are idle."""
        self._configure()
        root = self.root
        self._launch(
            'munged', '--foreground', '--force', f'--socket={root}/munge.sock',
            f'--key-file={root}/munge/key', f'--pid-file={root}/munged.pid',
            f'--log-file={root}/munged.log', f'--seed-file={root}/munge/seed',
        )  # fmt: skip
        self._await(lambda: (root / 'munge.sock').exists())
        self._launch('slurmctld', '-D', '-c', '-f', root / 'slurm.conf')
        for node in NODES:
            self._launch('slurmd', '-D', '-N', node, '-f', root / 'slurm.conf')
        self._await(self._is_idle)

    def stop(self) -> None:
        """Cancel every job and stop the daemons."""
        if self._running:
            jobs = self.ask('squeue', '-h', '-o', '%A').split()
            if jobs:
                self.ask('scancel', *jobs)
                self._await(lambda: not self.ask('squeue', '-h').strip(), fatal=False)
        for process in reversed(list(self._running.values())):
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def ask(self, *command: object) -> str:
        """What one of SLURM's commands prints."""
        return subprocess.run(
            [str(part) for part in command],
            env={**os.environ, **self.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        ).stdout

    def state(self, job: str) -> str:
        """A job's state and why: "RUNNING None"."""
        return self.ask('squeue', '-h', '-t', 'all', '-j', job, '-o', '%T %r').strip()

    def skip_delay(self, job: str) -> None:
        """Let a job that is re-queued start now, and not two minutes later."""
        self._await(lambda: self.state(job) == 'PENDING BeginTime')
        time.sleep(3)  # a node refuses a job that starts in the second of its end
        self.ask('scontrol', 'update', f'jobid={job}', 'StartTime=now')
        self._await(lambda: self.state(job).startswith(('RUNNING', 'COMPLETED')))

    def _configure(self) -> None:
        root, host = self.root, socket.gethostname()
        for folder in ('state', 'munge'):
            (root / folder).mkdir()
        (root / 'munge').chmod(0o700)
        (root / 'munge' / 'key').write_bytes(os.urandom(128))
        (root / 'munge' / 'key').chmod(0o400)
        ports = [_free_port() for _ in range(3)]
        node = f'CPUs=64 RealMemory=1000 Gres=gpu:{GPUS} State=UNKNOWN'
        (root / 'slurm.conf').write_text(
            CONF.format(root=root, host=host, ports=ports, nodes=NODES, node=node)
        )
        (root / 'plugstack.conf').touch()
        (root / 'cgroup.conf').write_text('CgroupAutomount=no\n')
        gpus = []
        for node in NODES:
            (root / f'spool.{node}').mkdir()
            for gpu in range(GPUS):  # a device that does nothing stands for a GPU
                (root / f'{node}.gpu{gpu}').touch()
            gpus.append(f'NodeName={node} Name=gpu File={root}/{node}.gpu[0-{GPUS - 1}]\n')
        (root / 'gres.conf').write_text(''.join(gpus))

    def _launch(self, daemon: str, *args: object) -> None:
        log = (self.root / f'{daemon}.{len(self._running)}.out').open('w')
        self._running[f'{daemon} {args}'] = subprocess.Popen(
            [_path_of(daemon), *map(str, args)],
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _is_idle(self) -> bool:
        return self.ask('sinfo', '-h', '-N', '-o', '%T').split() == ['idle', 'idle']

    def _await(self, ready, seconds: float = 60, fatal: bool = True) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                if fatal:
                    raise RuntimeError(f'SLURM in {self.root}:\n{self._said()}')
                return
            time.sleep(0.2)

    def _said(self) -> str:
        return '\n'.join(p.read_text()[-2000:] for p in self.root.glob('*.out'))


def _path_of(daemon: str) -> str | None:
    return shutil.which(daemon, path=f'{os.environ["PATH"]}:/usr/sbin:/sbin')


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]
