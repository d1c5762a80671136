"""A proxy as processes: started, asked for its CPU time and memory, reloaded, ended.

CPU time is utime + stime of /proc/PID/stat over the whole tree of processes, children that were reaped included, so
that workers count whatever their number. It has a grain of 10 ms, which a round of some seconds makes small.
"""

import os
import pathlib
import signal
import socket
import subprocess
import time
from dataclasses import dataclass

TICK = os.sysconf("SC_CLK_TCK")
WORKERS = 2
KEY = "0f3a9c51d2e84b76"


@dataclass(frozen=True)
class Setup:
    """What a proxy is asked to be."""

    kind: str
    routes: int = 0


@dataclass(frozen=True)
class Ports:
    """Where the mock upstream is."""

    http1: int
    h2c: int
    #: A provider of models, where a scene needs one.
    provider: int = 0


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU time."""

    user: float
    system: float

    def __sub__(self, earlier):
        return Cpu(self.user - earlier.user, self.system - earlier.system)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Proxy:
    """One running proxy. A subclass writes its configuration and says how to start it."""

    NAME = ""
    #: Setups that it cannot do, and why.
    CANNOT: dict[str, str] = {}
    START_SECONDS = 60.0
    #: A round of streams lasts at least so long, so that some of them end within it.
    STREAM_SECONDS = 4

    def __init__(self, setup: Setup, upstream: Ports, folder: pathlib.Path, tools):
        self.setup, self.upstream, self.tools = setup, upstream, tools
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.process = None

    def write(self):
        """Writes the configuration."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """The command that runs in the foreground, after `write`."""
        raise NotImplementedError

    def reload(self):
        """Makes the running proxy take what `write` has written."""
        raise NotImplementedError

    def start(self):
        self.write()
        with open(self.folder / "out.log", "wb") as log:
            self.process = subprocess.Popen(
                self.command(), stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=self.tools.env,
                cwd=self.folder,
            )
        end = time.monotonic() + self.START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.02)
        tail = (self.folder / "out.log").read_text(errors="replace")[-3000:]
        self.stop()
        raise RuntimeError(f"{self.NAME} does not serve {self.setup}:\n{tail}")

    def stop(self):
        if self.process is None:
            return
        pids = self.pids()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.process.wait()
        self.process = None

    def pids(self):
        """The process and all that descend from it."""
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    todo.extend(int(child) for child in task.read_text().split())
                except (FileNotFoundError, ProcessLookupError):
                    pass
        return found

    def cpu(self) -> Cpu:
        user = system = 0
        for pid in self.pids():
            try:
                stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
            except FileNotFoundError:
                continue
            fields = stat.rpartition(")")[2].split()
            user += int(fields[11]) + int(fields[13])
            system += int(fields[12]) + int(fields[14])
        return Cpu(user / TICK, system / TICK)

    def rss(self) -> int:
        """Bytes of resident memory; what several processes of a tree share counts once."""
        total, pids = 0, self.pids()
        kind = "Rss:" if len(pids) == 1 else "Pss:"
        for pid in pids:
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(kind):
                    total += int(line.split()[1]) * 1024
        return total
