"""Tidegate with the policies and handlers that are measured by themselves, each beside the same without it."""

import socket
import subprocess
import time

from proxies.process import free_port
from proxies.tidegate import Tidegate
from tools import DEBIAN, ROOT


class Proxied(Tidegate):
    """One proxied call and nothing more."""

    NAME = "Tidegate, one proxied call"


class Cached(Tidegate):
    """An answer that is kept."""

    NAME = "Tidegate, kept"

    def routes(self):
        [route] = super().routes()
        return [{**route, "policies": [{"cache": {}}]}]


class Plugged(Tidegate):
    """A component that does nothing, on the way in and on the way out."""

    NAME = "Tidegate, a component that does nothing"

    def config(self):
        return {**super().config(), "plugins": [{"name": "no-op", "file": str(ROOT / "bench/no-op.wasm")}]}

    def routes(self):
        [route] = super().routes()
        return [{**route, "policies": [{"wasm": {"plugin": "no-op"}}]}]


class Composed(Tidegate):
    """One answer of three calls that run at once."""

    NAME = "Tidegate, three calls composed"

    def routes(self):
        [route] = super().routes()
        del route["backends"]
        calls = {name: {"upstream": "mock", "path": f"/{name}"} for name in ("order", "product", "customer")}
        response = {name: f"$.{name}" for name in calls}
        return [{**route, "compose": {"timeout": "5s", "calls": calls, "response": response}}]


class Guarded(Tidegate):
    """The Core Rule Set at its first level of paranoia."""

    NAME = "Tidegate, rules against attacks"

    def routes(self):
        [route] = super().routes()
        rules, setup = DEBIAN / "usr/share/modsecurity-crs/rules", DEBIAN / "etc/modsecurity/crs/crs-setup.conf"
        return [{**route, "policies": [{"waf": {"rules": [str(rules)], "setup": str(setup), "paranoia": 1}}]}]


class Limited(Tidegate):
    """A limit that is counted in this process."""

    NAME = "Tidegate, limited here"
    LIMIT = {"limit": 1_000_000_000, "window": "1s", "key": "clientAddress"}

    def routes(self):
        [route] = super().routes()
        return [{**route, "policies": [{"rateLimit": self.LIMIT}]}]


class SharedLimited(Limited):
    """The same limit, counted in Redis."""

    NAME = "Tidegate, limited in Redis"
    LIMIT = {**Limited.LIMIT, "limit": 1_000_000_000, "store": "redis", "whenAway": "closed"}

    def start(self):
        self.redis_port = free_port()
        command = [self.tools.redis, "--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.redis = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=self.tools.env, cwd=self.folder)
        self.wait_for_redis()
        return super().start()

    def wait_for_redis(self):
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.redis_port)) == 0:
                    return
            time.sleep(0.02)
        self.redis.kill()
        raise RuntimeError("redis-server does not listen")

    def stop(self):
        super().stop()
        self.redis.terminate()
        self.redis.wait()

    def config(self):
        return {**super().config(), "redis": {"addresses": [f"127.0.0.1:{self.redis_port}"], "timeout": "5s"}}

    def questions(self):
        """How many scripts Redis has run."""
        command = [self.tools.redis_cli, "-p", str(self.redis_port), "info", "commandstats"]
        told = subprocess.run(command, capture_output=True, text=True, check=True, env=self.tools.env).stdout
        lines = [line for line in told.splitlines() if line.startswith(("cmdstat_evalsha:", "cmdstat_eval:"))]
        return sum(int(line.split("calls=")[1].split(",")[0]) for line in lines)


class OverHttp2(Tidegate):
    """One proxied call that comes over HTTP/2 and TLS."""

    NAME = "Tidegate, HTTP/2 over TLS"


class OverHttp3(Tidegate):
    """The same over HTTP/3, on the UDP port of the same number."""

    NAME = "Tidegate, HTTP/3"
    OVER_QUIC = True

    def config(self):
        config = super().config()
        config["listeners"][0]["http3"] = True
        return config


class Passed(Tidegate):
    """Bytes that go on as they come, at a listener of TCP."""

    NAME = "Tidegate, bytes passed on"

    def config(self):
        config = super().config()
        config["listeners"][0]["protocol"] = "tcp"
        del config["routes"]
        config["streamRoutes"] = [{"name": "all", "listeners": ["bench"], "backends": [{"upstream": "mock"}]}]
        return config


class Transcoded(Tidegate):
    """REST for a gRPC server, by the annotations of its descriptor set."""

    NAME = "Tidegate, REST to gRPC"

    def routes(self):
        [route] = super().routes()
        del route["backends"]
        descriptors = str(ROOT / "examples" / "shop" / "prices.binpb")
        return [{**route, "transcode": {"upstream": "mock", "descriptorSet": descriptors}}]
