"""Load generators: each runs against one proxy and says how many were answered, how many failed, and how fast.

`wrk` sends HTTP/1.1 and TLS, `h2load` HTTP/2 and gRPC, `bench-tools http3` HTTP/3, `openssl s_time` shakes hands,
`bench-tools paced` holds a rate. All but the last are closed loops: their latencies are those of a saturated machine.
"""

import json
import pathlib
import re
import subprocess
from dataclasses import dataclass

from proxies.process import KEY

CONNECTIONS = 64
#: What a small client sends beside Host.
FIELDS = ("User-Agent: bench/1.0", "Accept: application/json", "Accept-Encoding: gzip", f"X-Api-Key: {KEY}")
FAILED_SHARE_MAX = 0.001


@dataclass(frozen=True)
class Answered:
    """What a generator saw; latencies in microseconds, none where it knows none."""

    requests: int
    failed: int
    p50: float | None = None
    p99: float | None = None
    longest: float | None = None
    reason: str = ""

    def checked(self, what):
        """Itself, unless so much failed that its figures mean nothing."""
        if self.requests == 0 or self.failed > FAILED_SHARE_MAX * self.requests:
            raise RuntimeError(f"{what}: {self.failed} failed of {self.requests} {self.reason}")
        return self


def run(tools, command):
    done = subprocess.run(command, capture_output=True, text=True, env=tools.env, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-1000:]}\n{done.stderr[-1000:]}")
    return done.stdout


def wrk(tools, proxy, seconds, path="/", connections=CONNECTIONS, script=None):
    """HTTP/1.1 with keep-alive, over TLS where the proxy speaks it."""
    scheme = "https" if proxy.setup.kind == "tls" else "http"
    command = [tools.wrk, "-t2", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "--latency"]
    for field in FIELDS if script is None or script.name != "post.lua" else ():
        command += ["-H", field]
    if script:
        command += ["-s", str(script)]
    text = run(tools, [*command, f"{scheme}://127.0.0.1:{proxy.port}{path}"])
    requests = int(re.search(r"(\d+) requests in", text)[1])
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failed = int(refused[1]) if refused else 0
    failed += sum(int(count) for count in errors.groups()) if errors else 0
    return Answered(requests, failed, microseconds(text, 50), microseconds(text, 99))


def microseconds(text, percent):
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s)\s*$", text, re.MULTILINE)
    return float(found[1]) * {"us": 1, "ms": 1e3, "s": 1e6}[found[2]] if found else None


#: Of what asks over HTTP/2 and HTTP/3: connections, and streams on each.
SHARED_CONNECTIONS, STREAMS = 16, 10


def http3(tools, proxy, seconds, path="/"):
    """HTTP/3: as many connections and streams as `h2load`."""
    command = [tools.bench_tools, "http3", f"127.0.0.1:{proxy.port}", path, str(SHARED_CONNECTIONS), str(STREAMS), str(seconds)]
    seen = json.loads(run(tools, [*command, *FIELDS]))
    return Answered(seen["answered"], seen["failed"], seen["p50"], seen["p99"], seen["max"], seen["reason"])


def h2load(tools, proxy, seconds, grpc=False):
    """HTTP/2, by prior knowledge or over TLS: 16 connections, 10 streams each."""
    log = proxy.folder / "h2load.log"
    log.unlink(missing_ok=True)
    command = [tools.h2load, "-t1", f"-c{SHARED_CONNECTIONS}", f"-m{STREAMS}", f"-D{seconds}", f"--log-file={log}"]
    path = "/"
    if grpc:
        path = "/bench.Echo/Unary"
        message = proxy.folder / "message.bin"
        message.write_bytes(bytes([0, 0, 0, 0, 100]) + b"x" * 100)
        command += ["-d", str(message), "-H", "content-type: application/grpc", "-H", "te: trailers"]
    for field in FIELDS:
        command += ["-H", field.lower()]
    scheme = "https" if proxy.setup.kind == "tls" else "http"
    run(tools, [*command, f"{scheme}://127.0.0.1:{proxy.port}{path}"])
    lines = [line.split("\t") for line in log.read_text().splitlines()]
    took = sorted(int(line[2]) for line in lines if line[1] == "200")
    if not took:
        return Answered(0, len(lines))
    at = lambda share: float(took[round((len(took) - 1) * share)])  # noqa: E731
    return Answered(len(took), len(lines) - len(took), at(0.5), at(0.99), float(took[-1]))


def handshakes(tools, proxy, seconds):
    """Full TLS handshakes without a request: four clients, no resumption."""
    command = ["openssl", "s_time", "-connect", f"127.0.0.1:{proxy.port}", "-new", "-time", str(max(1, round(seconds)))]
    clients = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(4)]
    counts = [re.search(r"(\d+) connections in \d+ real seconds", client.communicate()[0]) for client in clients]
    failed = sum(count is None for count in counts)
    return Answered(sum(int(count[1]) for count in counts if count), failed)


def paced(tools, proxy, rate, seconds, connections=CONNECTIONS, path="/"):
    """Starts requests at a fixed rate; the result is read with `finish`."""
    command = [tools.bench_tools, "paced", f"127.0.0.1:{proxy.port}", path, str(rate), str(connections), str(seconds)]
    return start(tools, [*command, *FIELDS])


def start(tools, command):
    """A generator that runs beside something else."""
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=tools.env)


def finish(client):
    seen = json.loads(client.communicate()[0])
    answered = seen["sent"] - seen["lost"]
    return Answered(answered, seen["lost"], seen["p50"], seen["p99"], seen["max"], seen["reason"])


def random_paths(folder: pathlib.Path, count):
    """A script for wrk that asks for one of `count` routes at random."""
    script = folder / "routes.lua"
    script.write_text(
        f'request = function() return wrk.format("GET", string.format("/r/%06d", math.random(0, {count - 1}))) end\n'
    )
    return script
