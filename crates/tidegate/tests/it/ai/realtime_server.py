"""A Realtime server that answers as OpenAI's does, or as a client's `test.say` has it. Prints `ready`, then each handshake and how each connection ended.

usage: realtime_server.py PORT
"""

import json
import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

USAGE = {
    "total_tokens": 300, "input_tokens": 200, "output_tokens": 100,
    "input_token_details": {"text_tokens": 150, "audio_tokens": 50, "cached_tokens": 0},
    "output_token_details": {"text_tokens": 40, "audio_tokens": 60},
}


def answer(send):
    send({"type": "response.created", "response": {"id": "r", "status": "in_progress"}})
    send({"type": "response.output_text.delta", "delta": "high "})
    send({"type": "response.output_audio.delta", "delta": "AAAA" * 2000})
    send({"type": "response.done", "response": {"id": "r", "status": "completed", "usage": USAGE}})


def talk(connection):
    number = 0

    def send(event):
        nonlocal number
        number += 1
        text = json.dumps({"event_id": f"s{number}", **event})
        # Some of it in fragments.
        connection.send([text[:10], text[10:]] if number % 2 else text)

    request = connection.request
    print("request", json.dumps({"path": request.path, "headers": [[k.lower(), v] for k, v in request.headers.raw_items()]}), flush=True)
    send({"type": "session.created", "session": {"type": "realtime", "id": "sess", "model": request.path}})
    try:
        for message in connection:
            if isinstance(message, bytes) and not message.startswith(b"{"):
                connection.send(message)
                continue
            event = json.loads(message)
            kind = "bytes" if isinstance(message, bytes) else "text"
            print("came", kind, flush=True)
            print("event", event["type"], json.dumps(event), flush=True)
            match event["type"]:
                case "response.create" if event.get("response", {}).get("metadata"):
                    # The test says itself what becomes of it.
                    pass
                case "test.say":
                    for said in event["events"] * event.get("times", 1):
                        send(said)
                case "response.create" | "input_audio_buffer.commit":
                    answer(send)
                case "conversation.item.create":
                    send({"type": "conversation.item.added", "item": event["item"]})
                case "session.update":
                    send({"type": "session.updated", "session": event["session"]})
                case "test.close":
                    connection.close(4321, "as asked")
    except ConnectionClosed:
        pass
    print("closed", connection.protocol.close_code, flush=True)


def pick(connection, subprotocols):
    return "realtime" if "realtime" in subprotocols else None


with serve(talk, "127.0.0.1", int(sys.argv[1]), max_size=None, select_subprotocol=pick) as server:
    print("ready", flush=True)
    server.serve_forever()
