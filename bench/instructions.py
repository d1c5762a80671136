"""Instructions per request by callgrind, against those recorded in bench/instructions.toml.

    scripts/instructions.sh [--record | --look BINARY]

A process is run with two numbers of requests; the difference of its instructions, divided by that of the requests,
is what one request costs, without start and end. Threads that wait count nothing, so the whole process is counted.
"""

import argparse
import dataclasses
import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import tomllib
import types

import ai
from proxies import Tidegate
from proxies.process import KEY, Ports, Setup
from proxies.tidegate_ai import Bare, Governed

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECORDED = ROOT / "bench" / "instructions.toml"
GROWTH_MAX = 0.05
GATEWAYS = ("bare", "chain", "models", "governed")
FEW, MANY = 500, 2500
#: Those with governed conversations are longer ways, and as exact with fewer.
AI_FEW, AI_MANY = 200, 1000
READY_SECONDS = 120
HEAD = """# Instructions per request by callgrind; scripts/instructions.sh compares, and records with --record.
# `codec`: one exchange through crates/http1, release profile. The others: a gateway with one worker, dev profile;
# `models` is a conversation through the AI gateway alone, `governed` with key, limit, budget, guardrails and log.
# Another compiler makes other code, so that numbers of two compilers are shown and not judged.

"""
REQUEST = (
    "GET /v1/products?page=2 HTTP/1.1\r\nHost: api.example.test\r\nUser-Agent: bench/1.0\r\n"
    f"Accept: application/json\r\nAccept-Encoding: gzip\r\nX-Api-Key: {KEY}\r\n\r\n"
).encode()
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: bench/1.0\r\nDate: Mon, 24 Nov 2025 12:00:00 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: 1024\r\nCache-Control: max-age=60\r\n\r\n" + b"x" * 1024
)


def answers(text):
    fields = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    return (fields + text).encode()


CONVERSATION = ai.body(False)
ASKS = (
    f"POST /ai/v1/chat/completions HTTP/1.1\r\nHost: api.example.test\r\nUser-Agent: bench/1.0\r\n"
    f"Content-Type: application/json\r\nX-Api-Key: {KEY}\r\nContent-Length: {len(CONVERSATION)}\r\n\r\n{CONVERSATION}"
).encode()
WORDS = "At half past four the water is at its highest, and the ship may come in from half past three on. " * 3
SAID = answers(json.dumps({
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1764000000, "model": "mock",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": WORDS}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 250, "completion_tokens": 60, "total_tokens": 310},
}))


@dataclasses.dataclass(frozen=True)
class Load:
    """A gateway, and what is sent through it."""

    proxy: type = Tidegate
    request: bytes = REQUEST
    answer: bytes = ANSWER
    few: int = FEW
    many: int = MANY


#: By what is measured. All but these are a `Setup` of their name.
LOADS = {
    "models": Load(Bare, ASKS, SAID, AI_FEW, AI_MANY),
    "governed": Load(Governed, ASKS, SAID, AI_FEW, AI_MANY),
}


def callgrind(command, output):
    return ["valgrind", "--tool=callgrind", f"--callgrind-out-file={output}", "--quiet", *command]


def total(output):
    """Instructions of a finished process."""
    return int(re.search(r"^(?:summary|totals): (\d+)", output.read_text(), re.MULTILINE)[1])


def codec(binary, name, requests, folder):
    output = folder / f"{name}-{requests}"
    subprocess.run(callgrind([binary, str(requests)], output), check=True, stdout=subprocess.DEVNULL)
    return total(output)


def gateway(binary, kind, requests, folder):
    """A gateway that answers so many requests of one connection."""
    output = folder / f"{kind}-{requests}"
    load = LOADS.get(kind, Load())
    upstream = Upstream(load.answer)
    proxy = counted(load.proxy)(binary, Setup(kind), upstream.port, folder / kind, output)
    proxy.start()
    try:
        exchange(proxy.port, requests, load)
    finally:
        proxy.process.send_signal(signal.SIGTERM)
        code = proxy.process.wait(READY_SECONDS)
        upstream.close()
    if code != 0:
        raise RuntimeError(f"the gateway ended with {code}: {(proxy.folder / 'out.log').read_text()[-2000:]}")
    return total(output)


def counted(base):
    """A kind of Tidegate with one worker under callgrind."""

    class Gateway(base):
        def __init__(self, binary, setup, upstream, folder, output):
            folder.mkdir(exist_ok=True)
            key_file = folder / "api-key"
            key_file.write_text(KEY)
            tools = types.SimpleNamespace(env=None, key_file=str(key_file))
            super().__init__(setup, Ports(upstream, upstream, upstream), folder, tools)
            self.BINARY, self.output = binary, output
            self.START_SECONDS = READY_SECONDS

        def command(self):
            return callgrind(super().command(), self.output)

        def config(self):
            shutdown = {"drainDelay": "0s", "deadline": "1s"}
            return {**super().config(), "runtime": {"workers": 1}, "shutdown": shutdown}

    return Gateway


class Upstream:
    """Answers every request of every connection with the same."""

    def __init__(self, answer):
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection, self.answer), daemon=True).start()

    def close(self):
        self.listener.close()


def answer(connection, said):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pending = b""
    while data := connection.recv(65536):
        pending += data
        while b"\r\n\r\n" in pending:
            head, _, rest = pending.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)\ncontent-length: (\d+)", head)
            length = int(length[1]) if length else 0
            if len(rest) < length:
                break
            pending = rest[length:]
            connection.sendall(said)


def exchange(port, requests, load):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(requests):
            client.sendall(load.request)
            got, length = b"", None
            while length is None or len(got) < length:
                data = client.recv(65536)
                if not data or (len(got) == 0 and not data.startswith(b"HTTP/1.1 200 ")):
                    raise RuntimeError(f"the gateway answered {data[:300]}")
                got += data
                if length is None and b"\r\n\r\n" in got:
                    head, _, _ = got.partition(b"\r\n\r\n")
                    length = len(head) + 4 + int(re.search(rb"(?i)\ncontent-length: (\d+)", head)[1])


def measure(binaries):
    """What one request costs, by the name of what is measured."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for what, binary in binaries.items():
            run = codec if what == "codec" else gateway
            load = LOADS.get(what, Load())
            many, few = (run(binary, what, requests, folder) for requests in (load.many, load.few))
            found[what] = round((many - few) / (load.many - load.few))
    return found


def main():
    parser = argparse.ArgumentParser(prog="scripts/instructions.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write what is measured to bench/instructions.toml")
    parser.add_argument("--look", metavar="BINARY", help="count another build of the gateway and print that alone")
    parser.add_argument("--tidegate", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--codec", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.look:
        for what, count in measure(dict.fromkeys(GATEWAYS, options.look)).items():
            print(f"instructions: {what}: {count:,} per request")
        return
    found = measure({"codec": options.codec, **dict.fromkeys(GATEWAYS, options.tidegate)})
    compiler = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    if options.record:
        lines = [f'compiler = "{compiler}"\n', *(f"{what} = {count}\n" for what, count in found.items())]
        RECORDED.write_text(HEAD + "".join(lines))
    recorded = tomllib.loads(RECORDED.read_text())
    grown = []
    for what, count in found.items():
        change = count / recorded[what] - 1
        print(f"instructions: {what}: {count:,} per request, {change:+.1%} against {recorded[what]:,}")
        if change > GROWTH_MAX:
            grown.append(what)
    if recorded["compiler"] != compiler:
        print(f"instructions: not judged: recorded with {recorded['compiler']}, this is {compiler}")
    elif grown:
        sys.exit(
            f"instructions: {', '.join(grown)} grew by more than {GROWTH_MAX:.0%}. Find out why (callgrind_annotate);"
            " if it is worth it, run scripts/instructions.sh --record and give the reason in the commit."
        )


if __name__ == "__main__":
    main()
