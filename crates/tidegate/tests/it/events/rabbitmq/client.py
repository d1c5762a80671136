"""A client of RabbitMQ's, for the tests: orders come as lines of JSON, and so do answers."""

import json, sys, time

import pika
import pika.exceptions

port = int(sys.argv[1])


def connected():
    # A server that has just begun again takes connections before it speaks.
    end = time.monotonic() + 30
    while True:
        try:
            connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, heartbeat=0))
            break
        except pika.exceptions.AMQPError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
    channel = connection.channel()
    channel.confirm_delivery()
    return connection, channel


def plain(value):
    return value if isinstance(value, (str, int, bool)) else str(value)


def message(method, properties, body):
    return {
        "key": method.routing_key, "exchange": method.exchange, "value": body.decode(), "id": properties.message_id,
        "headers": {name: plain(value) for name, value in (properties.headers or {}).items()},
        "type": properties.content_type, "mode": properties.delivery_mode, "redelivered": method.redelivered,
    }


def obey(connection, channel, order):
    do, name = order["do"], order.get("name")
    if do == "exchange":
        channel.exchange_declare(name, order.get("kind", "topic"), durable=True)
    elif do == "queue":
        channel.queue_declare(name, durable=True, arguments=order.get("arguments"))
        if "exchange" in order:
            channel.queue_bind(name, order["exchange"], order["key"])
    elif do == "delete":
        channel.queue_delete(name)
    elif do == "publish":
        for one in order["messages"]:
            properties = pika.BasicProperties(
                headers=one.get("headers"), message_id=one.get("id"), content_type=one.get("type"), delivery_mode=2)
            channel.basic_publish(order.get("exchange", ""), one["key"], one["value"].encode(), properties)
    elif do == "get":
        found = []
        while True:
            method, properties, body = channel.basic_get(name, auto_ack=True)
            if not method:
                return found
            found.append(message(method, properties, body))
    elif do == "return":
        # Takes the first message, and has it come back.
        left = order["times"]
        while left:
            method, _, _ = channel.basic_get(name)
            if method:
                channel.basic_nack(method.delivery_tag, requeue=True)
                left -= 1
            time.sleep(0.01)
    elif do == "count":
        return channel.queue_declare(name, passive=True).method.message_count


for line in sys.stdin:
    connection, channel = connected()
    print(json.dumps(obey(connection, channel, json.loads(line))), flush=True)
    try:
        connection.close()
    except pika.exceptions.AMQPError:
        # The answer is there; a server that ends meanwhile need not hear that nothing more is asked.
        pass
