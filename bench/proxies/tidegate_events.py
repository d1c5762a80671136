"""Tidegate with a broker: a server of NATS for each, whose streams are in memory and whose own time is not counted."""

import json
import selectors
import socket
import subprocess
import time

from proxies.process import free_port
from proxies.tidegate import Tidegate
from proxies.tidegate_policies import ORDER

MESSAGE = json.dumps(ORDER).encode()
STREAM, SUBJECT = "ORDERS", "orders.placed"
#: Clients that listen at a time.
LISTENERS = 64


class Nats:
    """A server with JetStream, and one connection to it."""

    def __init__(self, tools, folder):
        self.port = free_port()
        command = [tools.nats, "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(folder / "nats")]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.connection = self.connected()
        self.lines = self.connection.makefile("rb")
        self.connection.sendall(b'CONNECT {"verbose":false}\r\nSUB answers 1\r\n')
        self.ask(f"STREAM.CREATE.{STREAM}", {
            "name": STREAM, "subjects": [SUBJECT], "storage": "memory", "max_bytes": 256 << 20, "discard": "old",
            # Every message has an id, which the server remembers for so long: nanoseconds.
            "duplicate_window": 10**9,
        })

    def connected(self):
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                return socket.create_connection(("127.0.0.1", self.port), timeout=60)
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise RuntimeError("nats-server does not listen")

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def ask(self, what, question):
        """A question to JetStream, and its answer."""
        text = json.dumps(question).encode()
        self.connection.sendall(b"PUB $JS.API.%b answers %d\r\n%b\r\n" % (what.encode(), len(text), text))
        while line := self.lines.readline():
            if line.startswith(b"PING"):
                self.connection.sendall(b"PONG\r\n")
            elif line.startswith(b"MSG "):
                answer = json.loads(self.lines.read(int(line.split()[-1])))
                self.lines.readline()
                if "error" in answer:
                    raise RuntimeError(f"nats-server: {what}: {answer['error']}")
                return answer
            elif line.startswith(b"-ERR"):
                raise RuntimeError(f"nats-server: {line.decode()}")
        raise RuntimeError("nats-server has ended")

    def publish(self, count):
        one = b"PUB %b %d\r\n%b\r\n" % (SUBJECT.encode(), len(MESSAGE), MESSAGE)
        for _ in range(count // 100):
            self.connection.sendall(one * 100)

    def are_left(self, durable):
        """How many messages a consumer has not confirmed yet."""
        told = self.ask(f"CONSUMER.INFO.{STREAM}.{durable}", {})
        return told["num_pending"] + told["num_ack_pending"]


class WithBroker(Tidegate):
    """The gateway knows the server as the broker `events`."""

    def start(self):
        self.nats = Nats(self.tools, self.folder)
        try:
            return super().start()
        except Exception:
            self.nats.stop()
            raise

    def stop(self):
        super().stop()
        self.nats.stop()

    def config(self):
        return {**super().config(), "brokers": [{"name": "events", "nats": {"servers": [f"127.0.0.1:{self.nats.port}"]}}]}


class Published(WithBroker):
    """An order that the broker has kept before it is answered."""

    NAME = "Tidegate, published to NATS"

    def body(self):
        return json.dumps(ORDER)

    def routes(self):
        [route] = super().routes()
        del route["backends"]
        return [{**route, "publish": {"broker": "events", "subject": SUBJECT, "stream": STREAM}}]


class Delivered(WithBroker):
    """Messages of the stream that are posted to the upstream, and confirmed."""

    NAME = "Tidegate, delivered"
    MORE = {}

    def config(self):
        subscription = {"name": "orders", "broker": "events", "stream": STREAM, "from": "all", "upstream": "mock", "concurrency": 64}
        return {**super().config(), "subscriptions": [{**subscription, **self.MORE}]}

    def wait_until_delivered(self, seconds=120):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if self.nats.are_left("tidegate-orders") == 0:
                    return
            except RuntimeError:
                # There is no consumer before the gateway has made one.
                if self.process.poll() is not None:
                    raise
            time.sleep(0.02)
        raise RuntimeError(f"{self.NAME}: not all is delivered after {seconds} s")


class DeliveredSigned(Delivered):
    """The same, signed."""

    NAME = "Tidegate, delivered and signed"
    MORE = {"sign": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]}


class Listened(WithBroker):
    """What the stream gets goes to many clients as server-sent events."""

    NAME = "Tidegate, server-sent events"
    HEAD = "GET / HTTP/1.1\r\nHost: bench.test\r\n\r\n"
    STATUS = b"HTTP/1.1 200"
    #: What each message has once on the wire.
    MARK = b"\ndata: "

    def routes(self):
        [route] = super().routes()
        del route["backends"]
        subscribe = {"broker": "events", "stream": STREAM, "subject": SUBJECT, "heartbeat": "5m"}
        return [{**route, "subscribe": subscribe}]

    def listen(self):
        """Opens all clients; the broker may not be connected yet."""
        self.listeners, self.selector = [], selectors.DefaultSelector()
        end = time.monotonic() + 20
        while len(self.listeners) < LISTENERS:
            one = socket.create_connection(("127.0.0.1", self.port), timeout=20)
            one.sendall(self.HEAD.encode())
            got = b""
            while b"\r\n\r\n" not in got:
                got += one.recv(4096) or b"\r\n\r\n"
            if got.startswith(self.STATUS):
                one.setblocking(False)
                self.selector.register(one, selectors.EVENT_READ, bytearray())
                self.listeners.append(one)
                continue
            one.close()
            if time.monotonic() > end:
                raise RuntimeError(f"{self.NAME}: {got[:300]}")
            time.sleep(0.1)

    def hear(self, count, seconds=120):
        """Reads until that many messages have come, of all clients together."""
        end = time.monotonic() + seconds
        while count > 0:
            if time.monotonic() > end:
                raise RuntimeError(f"{self.NAME}: {count} messages have not come after {seconds} s")
            for key, _ in self.selector.select(1):
                data = key.fileobj.recv(256 * 1024)
                if not data:
                    raise RuntimeError(f"{self.NAME}: a client was cut off")
                # What may be the beginning of a mark is looked at again with what follows.
                seen = bytes(key.data) + data
                count -= seen.count(self.MARK)
                key.data[:] = seen[len(seen) - len(self.MARK) + 1 :] if len(seen) >= len(self.MARK) else seen
        return count

    def stop(self):
        for one in getattr(self, "listeners", []):
            one.close()
        super().stop()


class ListenedByWebSocket(Listened):
    """The same over WebSocket."""

    NAME = "Tidegate, WebSocket"
    HEAD = (
        "GET / HTTP/1.1\r\nHost: bench.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    STATUS = b"HTTP/1.1 101"
    MARK = b'"data":'
