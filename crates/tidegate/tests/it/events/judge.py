"""CloudEvents and Standard Webhooks as their own SDKs for Python have them. `make` prints events as requests of HTTP, `read` what
messages say (one line of JSON for a file of them), `verify` which deliveries are signed as they should be."""

import base64
import json
import sys
from datetime import datetime, timezone

from cloudevents.core.bindings import http, kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from standardwebhooks import Webhook

FORMAT = JSONFormat()
command = sys.argv[1]


def b64(data):
    return base64.b64encode(data).decode()


def plain(value):
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat()
    return str(value).lower() if isinstance(value, bool) else str(value)


def told(event):
    """What an event says, whichever form it has: JSON is what no type is stated for."""
    attributes = {name: plain(value) for name, value in event.get_attributes().items() if value is not None}
    kind = attributes.setdefault("datacontenttype", "application/json").split(";")[0]
    data = event.get_data()
    if kind != "application/json":
        data = data.encode() if isinstance(data, str) else data
        data = {"base64": b64(data or b"")}
    return {"attributes": attributes, "data": data if data not in (b"", "") else None}


def read(message):
    headers, body = dict(message["headers"]), base64.b64decode(message["body"])
    if message["kind"] == "kafka":
        key = message.get("key")
        one = kafka.KafkaMessage({name: value.encode() for name, value in headers.items()}, key and key.encode(), body)
        return told(kafka.from_kafka(one, FORMAT))
    return told(http.from_http(http.HTTPMessage(headers, body), FORMAT))


def attempt(work, *arguments):
    try:
        return work(*arguments)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def events():
    base = {"type": "order.placed", "source": "/shop"}
    moment = datetime(2026, 11, 30, 12, 34, 56, 789000, tzinfo=timezone.utc)
    yield {**base, "id": "1"}, {"total": 1, "odd": "gr\u00fc\u00dfe \u2028 \U0001f600", "none": None, "list": [1.5, [], {}]}
    yield {
        **base, "id": "a b/\u00fc%\"2", "source": "https://shop.test/a?b=c%20d#e", "subject": "gr\u00f6\u00dfe 100% \u20ac\U0001f600 \"a\"",
        "time": moment, "dataschema": "https://shop.test/schema#order", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "ext1": "a=b; c, d",
    }, {"total": 2}
    yield {**base, "id": "3", "datacontenttype": "text/plain; charset=utf-8"}, "gr\u00fc\u00dfe\nof two lines"
    yield {**base, "id": "4", "datacontenttype": "application/octet-stream"}, bytes(range(256))
    yield {**base, "id": "5", "datacontenttype": "application/json; charset=utf-8", "subject": "a"}, {"a": []}
    yield {**base, "id": "6", "datacontenttype": "application/xml"}, "<a>\u00fc</a>"


def verify(job):
    body = base64.b64decode(job["body"])
    # Secrets that are texts are the bytes of these.
    secret = job["secret"] if job["secret"].startswith("whsec_") else job["secret"].encode()
    try:
        Webhook(secret).verify(body, dict(job["headers"]))
        return True
    except Exception as error:
        return f"{type(error).__name__}: {error}"


if command == "make":
    made = []
    for attributes, data in events():
        event = CloudEvent(attributes={"specversion": "1.0", **attributes}, data=data)
        for make in (http.to_binary, http.to_structured):
            message = make(event, FORMAT)
            made.append({"kind": "http", "headers": list(message.headers.items()), "body": b64(message.body)})
    print(json.dumps(made))
else:
    work = {"read": read, "verify": verify}[command]
    print(json.dumps([attempt(work, one) for one in json.load(open(sys.argv[2]))]))
