"""A client of RabbitMQ's, for the tests: orders come as lines of JSON, and so do answers."""

import json, sys

import pika

port, tls = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None


def connect():
    parameters = pika.ConnectionParameters("127.0.0.1", port, heartbeat=0)
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    channel.confirm_delivery()
    return connection, channel


def message(method, properties, body):
    headers = {name: value if isinstance(value, (str, int, bool)) else str(value) for name, value in (properties.headers or {}).items()}
    return {
        "key": method.routing_key, "exchange": method.exchange, "value": body.decode(), "headers": headers,
        "id": properties.message_id, "type": properties.content_type, "mode": properties.delivery_mode,
        "redelivered": method.redelivered,
    }


def obey(channel, order):
    do = order["do"]
    if do == "exchange":
        channel.exchange_declare(order["name"], order.get("kind", "topic"), durable=True)
    elif do == "queue":
        channel.queue_declare(order["name"], durable=True, arguments=order.get("arguments"))
        if "exchange" in order:
            channel.queue_bind(order["name"], order["exchange"], order["key"])
    elif do == "publish":
        for one in order["messages"]:
            properties = pika.BasicProperties(headers=one.get("headers"), message_id=one.get("id"), content_type=one.get("type"), delivery_mode=2)
            channel.basic_publish(order.get("exchange", ""), one["key"], one["value"].encode(), properties)
    elif do == "get":
        found = []
        while True:
            method, properties, body = channel.basic_get(order["name"], auto_ack=True)
            if not method:
                return found
            found.append(message(method, properties, body))
    elif do == "count":
        return channel.queue_declare(order["name"], passive=True).method.message_count


for line in sys.stdin:
    connection, channel = connect()
    print(json.dumps(obey(channel, json.loads(line))), flush=True)
    connection.close()
