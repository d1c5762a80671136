"""A WebSocket server on cleartext HTTP/2 (hypercorn) that echoes; `close CODE` makes it close.
Prints `asked VERSION` and how each connection ended."""
import asyncio
import sys

from hypercorn.asyncio import serve
from hypercorn.config import Config


async def chat(scope, receive, send):
    if scope["type"] != "websocket":
        return
    print("asked", scope["http_version"], flush=True)
    await receive()
    await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][0]})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            print("closed by the client", flush=True)
            return
        text = event.get("text")
        if text is not None and text.startswith("close "):
            code = int(text.split()[1])
            await send({"type": "websocket.close", "code": code, "reason": "as asked"})
            print("closed", code, flush=True)
            return
        if text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": event["bytes"]})


config = Config()
config.bind = [f"127.0.0.1:{sys.argv[1]}"]
config.websocket_max_message_size = 16 << 20
asyncio.run(serve(chat, config))
