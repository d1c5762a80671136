"""A WebSocket client that is held to bounds. Arguments: the address, and what to try. Prints what comes of it."""
import sys
import time

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

address, wanted = sys.argv[1:3]


def open_one():
    return connect(f"ws://{address}/chat", max_size=None, subprotocols=["chat"])


def ended(chat):
    """The code that the other side closes with."""
    try:
        while True:
            chat.recv(timeout=20)
    except ConnectionClosed as error:
        return error.rcvd and error.rcvd.code


with open_one() as chat:
    began = time.monotonic()
    if wanted == "sizes":
        for message in ("x" * 1000, "y" * 16_000, b"z" * 16_000):
            chat.send(message)
            assert chat.recv(timeout=20) == message
        chat.send(["piece" * 1000, "piece" * 1000])
        assert len(chat.recv(timeout=20)) == 10_000
        print("within", flush=True)
        chat.send("x" * 40_000)
        print("frame", ended(chat), flush=True)
        with open_one() as other:
            # Each piece is small enough, and all of them are not.
            other.send(["p" * 20_000] * 4)
            print("message", ended(other), flush=True)
        with open_one() as other:
            # What is asked for is small, and what comes is not.
            other.send("x" * 25_000)
            print("answer", ended(other), flush=True)
    elif wanted == "idle":
        for _ in range(4):
            time.sleep(0.5)
            chat.send("awake")
            assert chat.recv(timeout=20) == "awake"
        print("kept", flush=True)
        print("closed", ended(chat), flush=True)
    elif wanted == "pinged":
        time.sleep(2.5)
        chat.send("still here")
        print(chat.recv(timeout=20), flush=True)
    elif wanted == "old":
        code = None
        try:
            while True:
                chat.send("busy")
                chat.recv(timeout=20)
                time.sleep(0.05)
        except ConnectionClosed as error:
            code = error.rcvd and error.rcvd.code
        took = time.monotonic() - began
        print("closed", code, "in time" if 1.4 < took < 10 else took, flush=True)
    elif wanted == "extensions":
        print([extension.name for extension in chat.protocol.extensions], flush=True)
        chat.send("squeeze " * 1000)
        assert chat.recv(timeout=20) == "squeeze " * 1000
