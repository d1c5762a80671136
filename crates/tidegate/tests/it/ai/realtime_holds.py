"""Answers of Realtime conversations that run side by side, fail or tell nothing; prints what budgets hold for them.

usage: realtime_holds.py what BASE KEY [BASE]
"""

import json
import sys
import threading
import time
import urllib.error
import urllib.request
from decimal import Decimal

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

what, base, key, *others = sys.argv[1:]


def opened(base):
    address = base.replace("http", "ws", 1) + "/v1/realtime?model=rt"
    return connect(address, additional_headers={"x-api-key": key}, max_size=None)


def left(base):
    """What the budget has left: a call that might cost more is refused and told."""
    body = {"model": "rt", "max_tokens": 999000000000, "messages": [{"role": "user", "content": "x"}]}
    request = urllib.request.Request(
        base + "/v1/chat/completions", json.dumps(body).encode(),
        {"x-api-key": key, "content-type": "application/json"})
    try:
        urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        message = json.loads(error.read())["error"]["message"]
        return Decimal(message.split("has $")[1].split(" ")[0])


def usage(text_in=0, text_out=0):
    return {"total_tokens": text_in + text_out, "input_tokens": text_in, "output_tokens": text_out,
            "input_token_details": {"text_tokens": text_in}, "output_token_details": {"text_tokens": text_out}}


class Talk:
    def __init__(self, connection):
        self.connection = connection
        self.begun = left(base)

    def send(self, event, binary=False):
        text = json.dumps(event)
        self.connection.send(text.encode() if binary else text)

    def create(self, most=None, binary=False, **more):
        response = {"metadata": {"quiet": "yes"}, **({} if most is None else {"max_output_tokens": most})}
        self.send({"type": "response.create", "response": response, **more}, binary)

    def say(self, *events):
        """Has the provider say this, and waits until it came."""
        self.send({"type": "test.say", "events": list(events)})
        for event in events:
            while json.loads(self.connection.recv(10))["type"] != event["type"]:
                pass

    def taken(self, until=lambda taken: True):
        """Dollars that are spent or held since the beginning, once they are so."""
        for _ in range(100):
            taken = self.begun - left(base)
            if until(taken):
                break
            time.sleep(0.02)
        return taken


def created(id):
    return {"type": "response.created", "response": {"id": id, "status": "in_progress"}}


def done(id, status="completed", **more):
    return {"type": "response.done", "response": {"id": id, "status": status, **more}}


if what == "aside":
    with opened(base) as connection:
        connection.recv()
        talk = Talk(connection)
        # Of each the most is 64 dollars per million of sound: 1,000 tokens, and 2,000.
        talk.create(1000, event_id="e1")
        talk.create(2000, event_id="e2")
        talk.say(created("r1"), created("r2"))
        both = talk.taken(lambda taken: taken > Decimal("0.19"))
        print("both", Decimal("0.192") <= both < Decimal("0.22"))
        # The second is done before the first: 100 × 4 and 50 × 16 millionths.
        talk.say(done("r2", usage=usage(100, 50)))
        one = talk.taken(lambda taken: taken < Decimal("0.1"))
        print("one", Decimal("0.0652") <= one < Decimal("0.08"))
        talk.say(done("r1", "cancelled", usage=usage(10, 0)))
        none = talk.taken(lambda taken: taken < Decimal("0.01"))
        print("none", none)
        # One that the provider refuses, by the event's id and without one.
        talk.create(1000, event_id="e3")
        talk.taken(lambda taken: taken > Decimal("0.06"))
        talk.say({"type": "error", "error": {"type": "invalid_request_error", "event_id": "e9", "message": "no"}})
        print("another's error", talk.taken() > Decimal("0.06"))
        talk.say({"type": "error", "error": {"type": "invalid_request_error", "event_id": "e3", "message": "no"}})
        print("its error", talk.taken(lambda taken: taken == none) == none)
        talk.create(1000)
        talk.taken(lambda taken: taken > Decimal("0.06"))
        talk.say({"type": "error", "error": {"type": "invalid_request_error", "event_id": None, "message": "no"}})
        print("its error", talk.taken(lambda taken: taken == none) == none)
        # A failure costs nothing; what tells nothing is reckoned by what was heard.
        talk.create(1000)
        talk.say(created("r3"), done("r3", "failed", usage=None))
        print("failed", talk.taken(lambda taken: taken == none) == none)
        talk.create(1000)
        sound = {"type": "response.output_audio.delta", "response_id": "r4", "delta": "A" * 64000}
        talk.say(created("r4"), sound, done("r4"))
        untold = talk.taken(lambda taken: none < taken < Decimal("0.06")) - none
        print("untold", Decimal("0.0012") < untold < Decimal("0.0016"))
    print("end", talk.taken(lambda taken: taken == none + untold) == none + untold)
elif what == "bounds":
    with opened(base) as connection:
        connection.recv()
        talk = Talk(connection)
        # A bound that the provider has not taken yet is a wish.
        talk.create()
        widest = talk.taken(lambda taken: taken > Decimal("0.2"))
        print("widest", widest > Decimal("0.2"))
        talk.say(created("r1"), done("r1", usage=usage()))
        talk.send({"type": "session.update", "session": {"max_output_tokens": 10}})
        while json.loads(connection.recv())["type"] != "session.updated":
            pass
        talk.create()
        talk.say(created("r2"))
        print("ten", Decimal("0.0006") < talk.taken(lambda taken: taken < Decimal("0.05")) < Decimal("0.05"))
        talk.say(done("r2", usage=usage()))
        talk.send({"type": "session.update", "session": {"max_output_tokens": "inf"}})
        talk.create()
        talk.say(created("r3"))
        print("inf", talk.taken(lambda taken: taken > Decimal("0.2")) > Decimal("0.2"))
        talk.say(done("r3", usage=usage()))
        # A bound beside the answer is nobody's.
        talk.create(session={"max_output_tokens": 1})
        talk.say(created("r4"))
        print("beside", talk.taken(lambda taken: taken > Decimal("0.2")) > Decimal("0.2"))
        talk.say(done("r4", usage=usage()))
        # In bytes it is read all the same.
        talk.create(1000, binary=True)
        talk.say(created("r5"))
        print("bytes", talk.taken(lambda taken: taken > Decimal("0.06")) > Decimal("0.06"))
        talk.say(done("r5", usage=usage()))
        talk.send({"type": "conversation.item.create", "item": {"text": "Write to ann@example.com"}}, binary=True)
        while (event := json.loads(connection.recv()))["type"] != "conversation.item.added":
            pass
        print("masked", event["item"]["text"])
        connection.send(b"\x00\xff")
        error = json.loads(connection.recv())["error"]
        print("noise", error["code"], "bytes" in error["message"])
        connection.send(b"[1]")
        print("noise", json.loads(connection.recv())["error"]["code"])
elif what == "begun":
    with opened(base) as connection:
        connection.recv()
        talk = Talk(connection)
        talk.send({"type": "conversation.item.create", "item": {"text": "word " * 500}})
        # Nobody asked for it, and the most that it may cost is more than is left.
        talk.send({"type": "test.say", "events": [created("r1")]})
        try:
            while True:
                connection.recv(10)
        except ConnectionClosed as closed:
            print("closed", closed.rcvd.code)
    print("spent", Decimal("0.001") < talk.taken(lambda taken: taken > 0) < Decimal("0.01"))
elif what == "free":
    with opened(base) as connection:
        connection.recv()
        connection.send(b"\x00\xff" * 70000)
        print("noise passes", connection.recv() == b"\x00\xff" * 70000)
elif what == "shared":
    turns = []

    def talk(base):
        count = 0
        with opened(base) as connection:
            connection.recv()
            try:
                while True:
                    connection.send('{"type":"response.create","response":{"max_output_tokens":500}}')
                    while json.loads(connection.recv())["type"] != "response.done":
                        pass
                    count += 1
            except ConnectionClosed as closed:
                turns.append((count, closed.rcvd.code))

    threads = [threading.Thread(target=talk, args=(one,)) for one in [base, *others] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("codes", sorted({code for _, code in turns}), len(turns))
    print("turns", sum(count for count, _ in turns))
