"""The scenes: what each sends, to which setup, and what is measured.

A scene measures one proxy once per round; rounds are interleaved (A B C A B C …), so that a machine that slows down
slows all alike, and a ratio is taken within its round.
"""

import http.client
import socket
import time
from dataclasses import dataclass, field

import load
from proxies.process import KEY, Setup

PACED_RATE = 6000
RELOAD_RATE = 1000
RELOAD_ROUTES = 10_000
IDLE_CONNECTIONS = 10_000


@dataclass
class Sample:
    """One proxy in one round. Microseconds of CPU per request; what a scene does not measure is left out."""

    user: float | None = None
    system: float | None = None
    p50: float | None = None
    p99: float | None = None
    per_second: float | None = None
    #: Resident megabytes when the load has ended.
    rss: float | None = None
    #: What only one scene has: lost requests, longest stall, megabytes.
    more: dict = field(default_factory=dict)

    @property
    def cpu(self):
        return self.user + self.system


@dataclass(frozen=True)
class Scene:
    """A name for `--scene`, a title for the table, and how it is measured."""

    name: str
    title: str
    setup: Setup
    #: (tools, proxy, seconds) -> load.Answered; scenes of another shape override `measure`.
    send: callable = None
    #: Proxies that cannot do it, with the reason.
    cannot: dict = field(default_factory=dict)
    #: Seconds of load in a round, as a multiple of what is asked for.
    rounds_max: int = 99

    def warm(self, tools, proxy):
        self.send(tools, proxy, 1).checked(f"{self.name}, {proxy.NAME}, warm-up")

    def measure(self, tools, proxy, seconds):
        before, started = proxy.cpu(), time.monotonic()
        seen = self.send(tools, proxy, seconds).checked(f"{self.name}, {proxy.NAME}")
        took, used = time.monotonic() - started, proxy.cpu() - before
        each = 1e6 / seen.requests
        per_second = seen.requests / took
        return Sample(used.user * each, used.system * each, seen.p50, seen.p99, per_second, proxy.rss() / 1e6)


class Routes(Scene):
    """One of many routes at random, asked of two setups: with few routes and with many."""

    def warm(self, tools, proxy):
        # A large table may be served some time after its socket listens.
        wait_until_served(proxy, "/r/000000")
        self.send_random(tools, proxy, 1)

    def send_random(self, tools, proxy, seconds):
        script = load.random_paths(proxy.folder, proxy.setup.routes)
        return load.wrk(tools, proxy, seconds, script=script)

    def measure(self, tools, proxy, seconds):
        return Scene(self.name, self.title, self.setup, self.send_random).measure(tools, proxy, seconds)


class Paced(Scene):
    """Latency at one fixed rate for all, from an open loop."""

    def warm(self, tools, proxy):
        load.finish(load.paced(tools, proxy, PACED_RATE, 1))

    def measure(self, tools, proxy, seconds):
        send = lambda t, p, s: load.finish(load.paced(t, p, PACED_RATE, s))  # noqa: E731
        return Scene(self.name, self.title, self.setup, send).measure(tools, proxy, seconds)


class Reload(Scene):
    """Reloads of a large table under a steady load: requests lost, longest stall, against the same load without."""

    def warm(self, tools, proxy):
        wait_until_served(proxy, "/r/000000")
        load.finish(load.paced(tools, proxy, RELOAD_RATE, 1, path="/r/000000"))

    def measure(self, tools, proxy, seconds):
        seconds = max(4, seconds)
        calm = load.finish(load.paced(tools, proxy, RELOAD_RATE, seconds, path="/r/000000"))
        client = load.paced(tools, proxy, RELOAD_RATE, seconds, path="/r/000000")
        reloads, end = 0, time.monotonic() + seconds - 2
        slowest = 0.0
        while time.monotonic() < end:
            newest = proxy.setup.routes
            proxy.setup = Setup("routes", newest + 1)
            proxy.write()
            began = time.monotonic()
            proxy.reload()
            wait_until_served(proxy, f"/r/{newest:06}")
            slowest = max(slowest, time.monotonic() - began)
            reloads += 1
            time.sleep(0.3)
        busy = load.finish(client)
        more = {"reloads": reloads, "lost": busy.failed, "reason": busy.reason, "longest": busy.longest}
        more |= {"longest_without": calm.longest, "reload_seconds": slowest, "rss": proxy.rss() / 1e6}
        return Sample(p50=busy.p50, p99=busy.p99, more=more)


class Idle(Scene):
    """Memory at rest, and with many clients that said something once and stay."""

    def warm(self, tools, proxy):
        time.sleep(0.5)

    def measure(self, tools, proxy, seconds):
        rest = proxy.rss()
        held = []
        try:
            for _ in range(IDLE_CONNECTIONS):
                connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
                held.append(connection)
                connection.sendall(b"GET / HTTP/1.1\r\nHost: bench.test\r\n\r\n")
                read_answer(connection)
            time.sleep(1)
            full = proxy.rss()
        finally:
            for connection in held:
                connection.close()
        return Sample(more={"rest": rest / 1e6, "full": full / 1e6})


def read_answer(connection):
    got = b""
    while b"\r\n\r\n" not in got or len(got) < got.index(b"\r\n\r\n") + 4 + 1024:
        data = connection.recv(16 * 1024)
        if not data:
            raise RuntimeError("an idle connection was closed")
        got += data
    if not got.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(got[:200])


def wait_until_served(proxy, path, seconds=60):
    """Until a path answers 200, so that a reload counts only when it is in force."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
            client.request("GET", path, headers={"x-api-key": KEY})
            status = client.getresponse().status
            client.close()
            if status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.02)
    raise RuntimeError(f"{proxy.NAME} does not serve {path} after {seconds} s")


def large(tools, proxy, seconds):
    return load.wrk(tools, proxy, seconds, path="/1m", connections=16)


def grpc(tools, proxy, seconds):
    return load.h2load(tools, proxy, seconds, grpc=True)


ALL = (
    Scene("bare", "HTTP/1.1, 1 KiB, 64 connections", Setup("bare"), load.wrk),
    Scene("chain", "key + limit + JSON access log + metrics", Setup("chain"), load.wrk),
    Scene("tls", "TLS, keep-alive", Setup("tls"), load.wrk),
    Scene("handshakes", "TLS 1.3 handshakes", Setup("tls"), load.handshakes),
    Scene("h2", "HTTP/2 in, HTTP/1.1 out", Setup("h2"), load.h2load),
    Scene("grpc", "gRPC unary", Setup("grpc"), grpc),
    Scene("large", "HTTP/1.1, 1 MiB, 16 connections", Setup("bare"), large),
    Routes("routes-10", "10 routes", Setup("routes", 10)),
    Routes("routes-100000", "100,000 routes", Setup("routes", 100_000)),
    Paced("paced", f"{PACED_RATE} requests/s", Setup("bare")),
    Reload("reload", "reloads of 10,000 routes", Setup("routes", RELOAD_ROUTES), rounds_max=1),
    Idle("idle", "10,000 idle connections", Setup("bare"), rounds_max=1),
)
