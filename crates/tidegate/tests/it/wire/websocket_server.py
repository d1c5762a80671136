"""A WebSocket server that echoes; `close CODE` makes it close. Prints `ready`, and how each connection ended."""
import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve


def chat(connection):
    try:
        for message in connection:
            if isinstance(message, str) and message.startswith("close "):
                connection.close(int(message.split()[1]), "as asked")
                break
            connection.send(message)
    except ConnectionClosed:
        pass
    print("closed", connection.protocol.close_code, flush=True)


with serve(chat, "127.0.0.1", int(sys.argv[1]), max_size=None, subprotocols=["chat"]) as server:
    print("ready", flush=True)
    server.serve_forever()
