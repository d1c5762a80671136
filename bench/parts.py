"""The scenes of single policies and handlers: what each costs beside the same without it, and beside those who are
known for it."""

import http.client
import json
import time
from dataclasses import dataclass, replace

import load
from proxies.envoy_quic import EnvoyOverHttp3
from proxies.nginx import Nginx
from proxies.process import Setup
from proxies.tidegate_events import LISTENERS, Delivered, DeliveredSigned, Listened, ListenedByWebSocket, Published
from proxies.tidegate_policies import (
    Asked, Authorized, Filed, Masked, NginxFiles, Once, Posted, Signed, Transformed, Validated,
)
from proxies.tidegate_callers import AnyWay, Credited, Decided, Hooked, Introduced, Introspected, Judged, JudgedBefore, Keyed, Resigned, SignedIn
from proxies.tidegate_traffic import Counted, Divided, Mirrored, Moved, Shed, Slowed
from proxies.tidegate_parts import Cached, Composed, Guarded, Limited, OverHttp2, OverHttp3, Plugged, Proxied, SharedLimited, Transcoded
from proxies.varnish import Varnish
from scenes import Sample, Scene


class NginxKeeping(Nginx):
    """`proxy_cache` in a folder, whose index is in memory and whose files stay open."""

    NAME = "nginx"

    def http(self):
        return [f"proxy_cache_path {self.folder}/kept levels=1:2 keys_zone=kept:10m inactive=1h;", "open_file_cache max=1000 inactive=1h;"]

    def locations(self):
        return [one.replace("proxy_pass", "proxy_cache kept;\n      proxy_pass", 1) for one in super().locations()]


@dataclass(frozen=True)
class PartScene(Scene):
    """Who takes part, whom the others are compared with, and what is asked for."""

    kinds: tuple = ()
    base: str = ""
    path: str = "/"

    def warm(self, tools, proxy):
        self.ask(tools, proxy, 1).checked(f"{self.name}, {proxy.NAME}, warm-up")

    def ask(self, tools, proxy, seconds):
        return load.wrk(tools, proxy, seconds, path=self.path)

    def measure(self, tools, proxy, seconds):
        return Scene(self.name, self.title, self.setup, self.ask).measure(tools, proxy, seconds)


class Kept(PartScene):
    """An answer that is kept, which is looked at before anything is measured."""

    def warm(self, tools, proxy):
        super().warm(tools, proxy)
        client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
        client.request("GET", self.path, headers={"Accept-Encoding": "gzip"})
        answer = client.getresponse()
        answer.read()
        client.close()
        # nginx tells no age; what it keeps is a file.
        is_kept = answer.getheader("age") or any(path.is_file() for path in (proxy.folder / "kept").rglob("*"))
        if answer.status != 200 or not is_kept:
            raise RuntimeError(f"{proxy.NAME} keeps nothing: {answer.status} {answer.headers}")


class Questions(PartScene):
    """With how often Redis was asked for each request."""

    def measure(self, tools, proxy, seconds):
        before = proxy.questions() if isinstance(proxy, SharedLimited) else 0
        seen = []

        def ask(tools, proxy, seconds):
            seen.append(self.ask(tools, proxy, seconds))
            return seen[-1]

        sample = Scene(self.name, self.title, self.setup, ask).measure(tools, proxy, seconds)
        if isinstance(proxy, SharedLimited):
            # wrk leaves with requests under way, which are asked for and counted by nobody: the figure is a little too high.
            asked, done = proxy.questions() - before, seen[-1].requests
            sample = replace(sample, more={"questions": asked / done})
        return sample


class Multiplexed(PartScene):
    """Many streams of a connection, over TCP or QUIC as the proxy has it."""

    def ask(self, tools, proxy, seconds):
        over_quic = getattr(proxy, "OVER_QUIC", False)
        return (load.http3 if over_quic else load.h2load)(tools, proxy, seconds)


class Told(PartScene):
    """Each proxy is sent what its policy asks for: fields, a body, a key of its own for each request."""

    def ask(self, tools, proxy, seconds):
        return load.wrk(tools, proxy, seconds, path=self.path, script=script(proxy))


def used_for(proxy, count, work):
    """What the proxy used for each of so many pieces of work."""
    before, started = proxy.cpu(), time.monotonic()
    work()
    took, used, each = time.monotonic() - started, proxy.cpu() - before, 1e6 / count
    return Sample(used.user * each, used.system * each, per_second=count / took, rss=proxy.rss() / 1e6)


class Deliveries(PartScene):
    """As many messages as are delivered in about the time of a round are published at once, and waited for."""

    EACH_SECOND = 10_000

    def warm(self, tools, proxy):
        self.deliver(proxy, 1000)

    def deliver(self, proxy, count):
        proxy.nats.publish(count)
        proxy.wait_until_delivered()

    def measure(self, tools, proxy, seconds):
        count = self.EACH_SECOND * seconds
        return used_for(proxy, count, lambda: self.deliver(proxy, count))


class Listeners(PartScene):
    """Messages of a stream that each of many clients gets."""

    EACH_SECOND = 1000

    def warm(self, tools, proxy):
        proxy.listen()
        self.tell(proxy, 100)

    def tell(self, proxy, count):
        proxy.nats.publish(count)
        proxy.hear(count * LISTENERS)

    def measure(self, tools, proxy, seconds):
        count = self.EACH_SECOND * seconds
        return used_for(proxy, count * LISTENERS, lambda: self.tell(proxy, count))


def script(proxy):
    """A script for wrk; GET without a body."""
    name, value = lambda field: field.split(": ", 1)[0], lambda field: field.split(": ", 1)[1]
    sends = {name(field): value(field) for field in load.FIELDS} | (proxy.sends() if hasattr(proxy, "sends") else {})
    lines = []
    if hasattr(proxy, "body"):
        sends["Content-Type"] = "application/json"
        lines += ['wrk.method = "POST"', f"wrk.body = {json.dumps(proxy.body())}"]
    lines += [f"wrk.headers[{json.dumps(field)}] = {json.dumps(text)}" for field, text in sends.items()]
    if getattr(proxy, "HAS_KEYS", False):
        # wrk has a state of Lua for each thread: each begins its keys with a number of its own.
        lines += [
            "local threads = 0",
            "function setup(thread) threads = threads + 1; thread:set('number', threads) end",
            "local count, begun = 0, nil",
            "function request()",
            "  begun = begun or string.format('%d-%d-%d', number, os.time(), math.random(0, 2147483647))",
            "  count = count + 1",
            "  wrk.headers['Idempotency-Key'] = begun .. '-' .. count",
            "  return wrk.format()",
            "end",
        ]
    file = proxy.folder / "post.lua"
    file.write_text("\n".join(lines) + "\n")
    return file


ALL = (
    Kept("cache", "an answer of 1 KiB that is kept", Setup("bare"), kinds=(Cached, NginxKeeping, Varnish), base="nginx", path="/kept"),
    PartScene("compose", "three answers of 1 KiB as one", Setup("bare"), kinds=(Proxied, Composed), base=Proxied.NAME),
    PartScene("wasm", "a proxied call with a WebAssembly component that does nothing", Setup("bare"), kinds=(Proxied, Plugged), base=Proxied.NAME),
    Questions("shared-limit", "a limit that is counted in Redis", Setup("bare"), kinds=(Proxied, Limited, SharedLimited), base=Limited.NAME),
    Multiplexed("http3", "a proxied call over HTTP/3", Setup("tls"), kinds=(OverHttp2, OverHttp3, EnvoyOverHttp3), base=OverHttp2.NAME),
    PartScene("waf", "rules against attacks on and off", Setup("bare"), kinds=(Proxied, Guarded), base=Proxied.NAME, path="/api/v1/items?page=3&sort=name"),
    PartScene("transcode", "a unary call, REST to gRPC", Setup("grpc"), kinds=(Transcoded,), base=Transcoded.NAME, path="/v1/prices/17"),
    Told("policies", "a proxied GET under one policy", Setup("bare"), kinds=(Proxied, Signed, Authorized, Transformed, Masked), base=Proxied.NAME),
    Told("bodies", "a proxied POST of 300 bytes under one policy", Setup("bare"), kinds=(Posted, Validated, Once, Asked), base=Posted.NAME),
    Told("callers", "a proxied GET of somebody who is known", Setup("bare"), kinds=(Proxied, Keyed, AnyWay, Introduced, Introspected, SignedIn, Credited, Decided, JudgedBefore, Judged), base=Proxied.NAME),
    Told("signatures", "a proxied POST of 300 bytes with a signature", Setup("bare"), kinds=(Posted, Hooked, Resigned), base=Posted.NAME),
    Told("traffic", "a proxied GET under one bound that is not reached", Setup("bare"), kinds=(Proxied, Counted, Shed, Divided, Slowed, Moved, Mirrored), base=Proxied.NAME),
    Told("publish", "a POST of 300 bytes that a broker keeps", Setup("bare"), kinds=(Posted, Published), base=Posted.NAME),
    Deliveries("deliver", "a message of 300 bytes that an upstream gets", Setup("bare"), kinds=(Delivered, DeliveredSigned), base=Delivered.NAME),
    Listeners("subscribe", f"a message of 300 bytes that one of {LISTENERS} clients gets", Setup("bare"), kinds=(Listened, ListenedByWebSocket), base=Listened.NAME),
    PartScene("static", "a file of 1 KiB", Setup("bare"), kinds=(Filed, NginxFiles), base="nginx", path="/app.js"),
)
