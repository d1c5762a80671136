"""Speaks Realtime through OpenAI's SDK and through a plain WebSocket client; prints what came back.

usage: realtime.py BASE KEY
"""

import json
import sys

import openai
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

base, key = sys.argv[1:]
client = openai.OpenAI(base_url=base + "/v1", api_key=key)
address = base.replace("http", "ws", 1) + "/v1/realtime"


def item(text):
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def kinds(connection, last):
    found = []
    for event in connection:
        found.append(event.type)
        if event.type == last:
            return found, event


with client.realtime.connect(model="rt", extra_headers={"openai-beta": "realtime=v1"}) as connection:
    print("sdk", connection.recv().type)
    connection.session.update(session={"type": "realtime", "instructions": "Speak of tides."})
    print("sdk", connection.recv().session.instructions)
    connection.conversation.item.create(item=item("When is high water?"))
    print("sdk", connection.recv().item.content[0].text)
    connection.response.create()
    found, done = kinds(connection, "response.done")
    print("sdk", found, done.response.usage.total_tokens)
    connection.input_audio_buffer.append(audio="AAAA" * 100)
    connection.input_audio_buffer.commit()
    found, done = kinds(connection, "response.done")
    print("sdk", len(found))
    connection.conversation.item.create(item=item("Write to ann@example.com"), event_id="e7")
    event = connection.recv()
    print("masked", event.item.content[0].text)
    connection.conversation.item.create(item=item("the forbidden dose"), event_id="e8")
    event = connection.recv()
    print("blocked", event.type, event.error.code, event.error.event_id)
    connection.conversation.item.create(item=item("still there?"))
    print("sdk", connection.recv().item.content[0].text)

# A browser's way: the key among the subprotocols. Whatever passes is as it was.
protocols = ["realtime", "openai-insecure-api-key." + key, "openai-beta.realtime-v1"]
with connect(address + "?model=rt", subprotocols=protocols, compression=None) as connection:
    print("browser", connection.subprotocol, json.loads(connection.recv())["type"])
    connection.send(b"\x00\xff" * 70000)
    print("browser", json.loads(connection.recv())["error"]["code"])
    connection.send(['{"type":"conversation.item', '.create","item":{"a":"', 'é"}}'])
    print("browser", json.loads(connection.recv())["item"])
    print("browser", connection.ping().wait(5))
    connection.send("no event")
    print("browser", json.loads(connection.recv())["error"]["code"])
    connection.send('{"type":"test.close"}')
    try:
        connection.recv()
    except ConnectionClosed as closed:
        print("browser", closed.rcvd.code, closed.rcvd.reason)

# The budget ends it.
with connect(address + "?model=rt", additional_headers={"Authorization": f"Bearer {key}"}) as connection:
    connection.recv()
    for turn in range(1000):
        connection.send('{"type":"response.create","event_id":"mine","response":{"max_output_tokens":500}}')
        last = None
        try:
            while (event := json.loads(connection.recv()))["type"] != "response.done":
                last = event
        except ConnectionClosed as closed:
            print("spent", last["type"], last["error"]["code"], last["error"]["event_id"], closed.rcvd.code)
            break
    print("turns", turn)
