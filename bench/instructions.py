"""Instructions per request by callgrind, against those recorded in bench/instructions.toml.

    scripts/instructions.sh [--record | --look BINARY]

A process is run with two numbers of requests; the difference of its instructions, divided by that of the requests,
is what one request costs, without start and end. Threads that wait count nothing, so the whole process is counted.
"""

import argparse
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

from proxies import Tidegate
from proxies.process import KEY, Ports, Setup

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECORDED = ROOT / "bench" / "instructions.toml"
GROWTH_MAX = 0.05
FEW, MANY = 500, 2500
READY_SECONDS = 120
HEAD = """# Instructions per request by callgrind; scripts/instructions.sh compares, and records with --record.
# `codec`: one exchange through crates/http1, release profile. The others: a gateway with one worker, dev profile.
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
    upstream = Upstream()
    proxy = Gateway(binary, Setup(kind), upstream.port, folder / kind, output)
    proxy.start()
    try:
        exchange(proxy.port, requests)
    finally:
        proxy.process.send_signal(signal.SIGTERM)
        code = proxy.process.wait(READY_SECONDS)
        upstream.close()
    if code != 0:
        raise RuntimeError(f"the gateway ended with {code}: {(proxy.folder / 'out.log').read_text()[-2000:]}")
    return total(output)


class Gateway(Tidegate):
    """One worker under callgrind."""

    def __init__(self, binary, setup, upstream, folder, output):
        folder.mkdir(exist_ok=True)
        key_file = folder / "api-key"
        key_file.write_text(KEY)
        super().__init__(setup, Ports(upstream, upstream), folder, types.SimpleNamespace(env=None, key_file=str(key_file)))
        self.BINARY, self.output = binary, output
        self.START_SECONDS = READY_SECONDS

    def command(self):
        return callgrind(super().command(), self.output)

    def config(self):
        shutdown = {"drainDelay": "0s", "deadline": "1s"}
        return {**super().config(), "runtime": {"workers": 1}, "shutdown": shutdown}


class Upstream:
    """Answers every request of every connection with 1 KiB."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def close(self):
        self.listener.close()


def answer(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pending = b""
    while data := connection.recv(65536):
        pending += data
        while b"\r\n\r\n" in pending:
            _, _, pending = pending.partition(b"\r\n\r\n")
            connection.sendall(ANSWER)


def exchange(port, requests):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(requests):
            client.sendall(REQUEST)
            got = b""
            while not got.endswith(b"x" * 1024):
                data = client.recv(65536)
                if not data or (len(got) == 0 and not data.startswith(b"HTTP/1.1 200 ")):
                    raise RuntimeError(f"the gateway answered {data[:300]}")
                got += data


def measure(binaries):
    """What one request costs, by the name of what is measured."""
    counted = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for what, binary in binaries.items():
            run = codec if what == "codec" else gateway
            many, few = (run(binary, what, requests, folder) for requests in (MANY, FEW))
            counted[what] = round((many - few) / (MANY - FEW))
    return counted


def main():
    parser = argparse.ArgumentParser(prog="scripts/instructions.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write what is measured to bench/instructions.toml")
    parser.add_argument("--look", metavar="BINARY", help="count another build of the gateway and print that alone")
    parser.add_argument("--tidegate", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--codec", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.look:
        for what, count in measure({"bare": options.look, "chain": options.look}).items():
            print(f"instructions: {what}: {count:,} per request")
        return
    counted = measure({"codec": options.codec, "bare": options.tidegate, "chain": options.tidegate})
    compiler = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    if options.record:
        lines = [f'compiler = "{compiler}"\n', *(f"{what} = {count}\n" for what, count in counted.items())]
        RECORDED.write_text(HEAD + "".join(lines))
    recorded = tomllib.loads(RECORDED.read_text())
    grown = []
    for what, count in counted.items():
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
