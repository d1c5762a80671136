"""The scenes of the AI gateway: conversations through it, whole and streamed, beside plain proxying of the same bytes
and beside other AI gateways, all to one mock provider (`bench/provider`)."""

import json
import socket
import time
from dataclasses import dataclass

import load
from proxies.litellm import LiteLLM
from proxies.portkey import Portkey
from proxies.process import Setup
from proxies.tidegate_ai import Bare, Governed, GovernedTranslated, Plain, Translated
from scenes import Sample, Scene
from tools import Tools

BASE = Plain.NAME
#: A conversation of about a kibibyte, as applications send them.
TURNS = (
    ("system", "You are a harbour pilot who answers questions about tides in one short paragraph. " * 4),
    ("user", "When is the water at its highest at the north pier, and may a ship of nine metres draught come in?"),
    ("assistant", "High water is at a quarter past four; with nine metres she may come in an hour before and after."),
    ("user", "And how is it the day after, if the wind goes on like this from the west? " * 3),
)
#: Whole answers a second: about half of what the governed gateway answers on two cores with the load beside it.
PACED_RATE = 4000
STREAM_TOKENS, STREAM_RATE, STREAMS = 50, 100, 32
#: 10,000, or as many as a process may hold with two descriptors for each.
SLOW_STREAMS = min(10_000, (Tools.raise_file_limit() - 400) // 2)
#: Seconds after which the memory of the slow streams is looked at again.
SLOW_LOOKS = (20, 60)


def later(seconds):
    """What the memory so many seconds later is called."""
    return f"{seconds} s later MB"


def body(stream):
    messages = [{"role": role, "content": text} for role, text in TURNS]
    return json.dumps({"model": "smart", "stream": stream, "max_tokens": 200, "messages": messages})


def fields(proxy, conduct):
    return ["Content-Type: application/json", "User-Agent: bench/1.0", f"x-mock: {conduct}", *proxy.fields()]


def path(proxy):
    return getattr(proxy, "PATH", "/v1/chat/completions")


def script(proxy, stream, conduct):
    """A script for wrk that posts the conversation."""
    file = proxy.folder / "post.lua"
    lines = ['wrk.method = "POST"', f"wrk.body = {json.dumps(body(stream))}"]
    for field in fields(proxy, conduct):
        name, value = field.split(": ", 1)
        lines.append(f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}")
    file.write_text("\n".join(lines) + "\n")
    return file


def whole(tools, proxy, seconds):
    return load.wrk(tools, proxy, seconds, path=path(proxy), connections=16, script=script(proxy, False, "tokens=60"))


@dataclass(frozen=True)
class AiScene(Scene):
    """A scene of the AI gateway: who takes part, and whom the others are compared with."""

    kinds: tuple = ()
    base: str = BASE


class Streams(AiScene):
    """Streams of some tokens a second: CPU per streamed chunk."""

    def send_streams(self, tools, proxy, seconds):
        conduct = f"ttft=50ms, rate={STREAM_RATE}, tokens={STREAM_TOKENS}"
        seconds = max(seconds, proxy.STREAM_SECONDS)
        return load.wrk(tools, proxy, seconds, path=path(proxy), connections=STREAMS, script=script(proxy, True, conduct))

    def warm(self, tools, proxy):
        self.send_streams(tools, proxy, 1).checked(f"{self.name}, {proxy.NAME}, warm-up")

    def measure(self, tools, proxy, seconds):
        before, started = proxy.cpu(), time.monotonic()
        seen = self.send_streams(tools, proxy, seconds).checked(f"{self.name}, {proxy.NAME}")
        took, used = time.monotonic() - started, proxy.cpu() - before
        chunks = seen.requests * STREAM_TOKENS
        each = 1e6 / chunks
        return Sample(used.user * each, used.system * each, None, None, chunks / took, proxy.rss() / 1e6)


class PacedAi(AiScene):
    """Latency at one fixed rate for all, from an open loop."""

    def send_paced(self, tools, proxy, seconds):
        file = proxy.folder / "body.json"
        file.write_text(body(False))
        command = [tools.bench_tools, "paced", f"127.0.0.1:{proxy.port}", path(proxy), str(PACED_RATE), "32", str(seconds)]
        return load.finish(load.start(tools, [*command, *fields(proxy, "tokens=60"), f"@{file}"]))

    def warm(self, tools, proxy):
        self.send_paced(tools, proxy, 1)

    def measure(self, tools, proxy, seconds):
        return Scene(self.name, self.title, self.setup, self.send_paced).measure(tools, proxy, seconds)


class Slow(AiScene):
    """Memory with many slow streams, all at once, at their begin and some seconds later."""

    def warm(self, tools, proxy):
        time.sleep(0.5)

    def measure(self, tools, proxy, seconds):
        rest, held = proxy.rss(), []
        text = body(True)
        lines = [f"POST {path(proxy)} HTTP/1.1", "Host: bench.test", f"Content-Length: {len(text)}"]
        lines += fields(proxy, "ttft=2000ms, rate=0.5, tokens=90")
        request = ("\r\n".join(lines) + "\r\n\r\n" + text).encode()
        try:
            for _ in range(SLOW_STREAMS):
                connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=30)
                held.append(connection)
                connection.sendall(request)
            answers = [connection.recv(16 * 1024) for connection in held]
            failed = [answer for answer in answers if not answer.startswith(b"HTTP/1.1 200")]
            if failed:
                raise RuntimeError(f"{proxy.NAME}: {len(failed)} of {len(held)} streams did not begin: {failed[0][:500]}")
            more = {"rest MB": rest / 1e6, "all streams MB": proxy.rss() / 1e6}
            begun = time.monotonic()
            for seconds in SLOW_LOOKS:
                time.sleep(max(0, begun + seconds - time.monotonic()))
                more[later(seconds)] = proxy.rss() / 1e6
        finally:
            for connection in held:
                connection.close()
        return Sample(more=more)


OURS = (Plain, Bare, Governed, Translated, GovernedTranslated)
SETUP = Setup("ai")
NO_STREAMS = {"Portkey": "its release 1.15.2 answers 500 to every stream on Node.js 20 and 24 (`TypeError: immutable`)"}

ALL = (
    AiScene("ai", "whole answers of 60 tokens, 16 connections", SETUP, whole, kinds=(*OURS, LiteLLM, Portkey)),
    Streams("ai-stream", f"{STREAMS} streams of {STREAM_RATE} tokens/s, CPU per token", SETUP, kinds=(*OURS, LiteLLM, Portkey), cannot=NO_STREAMS),
    PacedAi("ai-paced", f"{PACED_RATE:,} whole answers/s", SETUP, kinds=OURS),
    Slow("ai-slow", f"{SLOW_STREAMS:,} slow streams", SETUP, kinds=(Governed, GovernedTranslated), rounds_max=1),
)
