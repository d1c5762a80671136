"""A WebSocket client that tries everything. Argument: the address; it ends well or says why not."""
import sys
import time

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


def open_one():
    return connect(f"ws://{sys.argv[1]}/chat", max_size=None, subprotocols=["chat"])


with open_one() as chat:
    assert chat.subprotocol == "chat"
    for message in ("hello", "käse", "", b"\x00\xff", "x" * 70_000, b"y" * 5_000_000):
        chat.send(message)
        assert chat.recv(timeout=20) == message
    # Longer than the route's timeouts.
    time.sleep(1)
    chat.send("still here")
    assert chat.recv(timeout=20) == "still here"
    assert chat.ping().wait(20)
    chat.close(4001, "enough")

with open_one() as chat:
    chat.send("close 4002")
    try:
        chat.recv(timeout=20)
        raise AssertionError("not closed")
    except ConnectionClosed as error:
        assert (error.rcvd.code, error.rcvd.reason) == (4002, "as asked"), error.rcvd
print("ok", flush=True)
