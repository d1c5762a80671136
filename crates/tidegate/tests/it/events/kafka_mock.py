"""A cluster of Kafka's: librdkafka's own mock, or a real one by its address, and librdkafka as its clients. Orders come as lines
of JSON, and so do answers. In a real cluster a topic is made anew, and what groups have confirmed of it is forgotten.

With a gate there is one broker behind a port of the test's own, which can be shut, speaks TLS, and asks who comes; with gates each
broker is behind one."""

import base64, hashlib, hmac, json, os, socket, ssl, struct, sys, threading, time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

wish = json.loads(sys.argv[1])
base = {"log_level": 0, "socket.timeout.ms": 5000}
own = {"bootstrap.servers": wish["servers"]} if "servers" in wish else {"test.mock.num.brokers": wish.get("brokers", 1)}
mock = Producer({**own, "log_level": 0})
brokers = sorted((b.host, b.port) for b in mock.list_topics(timeout=10).brokers.values())
servers = wish.get("servers") or ",".join(f"{host}:{port}" for host, port in brokers)
producers = {}


def take(stream, count):
    data = b""
    while len(data) < count:
        more = stream.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def frame(stream):
    return take(stream, struct.unpack(">i", take(stream, 4))[0])


class Gate:
    def __init__(self, port, inner):
        self.port, self.inner = port, inner
        self.listener, self.open = None, set()
        self.tls = None
        if "cert" in wish:
            self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.tls.load_cert_chain(wish["cert"], wish["key"])

    def swing(self, is_open):
        if is_open and not self.listener:
            self.listener = socket.socket()
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind(("127.0.0.1", self.port))
            self.listener.listen(64)
            threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()
        elif not is_open and self.listener:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None
            for stream in list(self.open):
                try:
                    stream.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            if self.tls:
                client = self.tls.wrap_socket(client, server_side=True)
            server = socket.create_connection(("127.0.0.1", self.inner))
        except OSError:
            return
        self.open |= {client, server}
        asked, lock = [], threading.Lock()
        threading.Thread(target=self.back, args=(server, client, asked, lock), daemon=True).start()
        try:
            self.forth(client, server, asked, lock)
        except (OSError, EOFError):
            pass
        for stream in (client, server):
            try:
                stream.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            stream.close()
        self.open -= {client, server}

    def forth(self, client, server, asked, lock):
        scram = Scram(wish["sasl"]) if "sasl" in wish else None
        while True:
            data = frame(client)
            key, _, number = struct.unpack(">hhi", data[:8])
            client_id = struct.unpack(">h", data[8:10])[0]
            body = data[10 + max(client_id, 0):]
            if key == 17:
                name = body[2:].decode()
                known = name == scram.name
                mine = scram.name.encode()
                answer = struct.pack(">hih", 0 if known else 33, 1, len(mine)) + mine
            elif key == 36:
                error, said = scram.step(body[4:])
                answer = struct.pack(">hhi", error, -1, len(said)) + said
            else:
                if key != 18 and scram and not scram.is_in:
                    return
                with lock:
                    asked.append(key)
                server.sendall(struct.pack(">i", len(data)) + data)
                continue
            answer = struct.pack(">i", number) + answer
            client.sendall(struct.pack(">i", len(answer)) + answer)

    def back(self, server, client, asked, lock):
        try:
            while True:
                data = frame(server)
                with lock:
                    key = asked.pop(0)
                for gate in gates if key in (3, 10) else []:
                    data = data.replace(struct.pack(">i", gate.inner), struct.pack(">i", gate.port))
                client.sendall(struct.pack(">i", len(data)) + data)
        except (OSError, EOFError, IndexError):
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Scram:
    """The broker's side of SCRAM, or of PLAIN."""

    def __init__(self, sasl):
        self.name, self.user, self.password = sasl
        self.hash = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}.get(self.name)
        self.is_in, self.first = False, None

    def step(self, said):
        text = said.decode()
        if not self.hash:
            self.is_in = text == f"\0{self.user}\0{self.password}"
            return (0 if self.is_in else 58), b""
        if self.first is None:
            bare = text.split(",", 2)[2]
            self.nonce = bare.split("r=")[1] + "server"
            self.salt = os.urandom(16)
            self.said = f"r={self.nonce},s={base64.b64encode(self.salt).decode()},i=4096"
            self.first = bare
            return 0, self.said.encode()
        without, proof = text.rsplit(",p=", 1)
        salted = hashlib.pbkdf2_hmac(self.hash, self.password.encode(), self.salt, 4096)
        mac = lambda key, data: hmac.new(key, data, self.hash).digest()
        whole = f"{self.first},{self.said},{without}".encode()
        key = mac(salted, b"Client Key")
        signature = mac(hashlib.new(self.hash, key).digest(), whole)
        wanted = bytes(a ^ b for a, b in zip(key, signature))
        if base64.b64decode(proof) != wanted:
            return 58, b""
        self.is_in = True
        return 0, b"v=" + base64.b64encode(mac(mac(salted, b"Server Key"), whole))


def made_anew(name):
    admin = AdminClient(own)
    groups = [one.group_id for one in admin.list_consumer_groups().result().valid if one.group_id.startswith("tidegate-")]
    for asked in (admin.delete_topics([name]), admin.delete_consumer_groups(groups) if groups else {}):
        for future in asked.values():
            future.exception(timeout=20)
    until = time.time() + 20
    # It takes a while until one that was deleted is gone.
    while admin.create_topics([NewTopic(name, num_partitions=4)])[name].exception(timeout=20):
        if time.time() > until:
            raise TimeoutError(name)
        time.sleep(0.2)


def topic(order):
    if "servers" in wish and order.get("anew"):
        made_anew(order["topic"])
    for _ in range(50):
        found = mock.list_topics(order["topic"], timeout=5).topics[order["topic"]].partitions
        if found:
            return len(found)
        time.sleep(0.1)


def produce(order):
    how = order.get("compression", "none")
    if how not in producers:
        settings = {"bootstrap.servers": servers, "partitioner": "murmur2_random", "compression.type": how, "message.max.bytes": 67108864}
        producers[how] = Producer({**base, **settings, "linger.ms": 5})
    told = [None] * len(order["records"])

    def deliver(place):
        def delivered(error, m):
            told[place] = str(error) if error else [m.partition(), m.offset()]

        return delivered

    for place, one in enumerate(order["records"]):
        headers = [(name, value.encode()) for name, value in one.get("headers", [])]
        key = one.get("key")
        value = bytes(one["zeros"]) if "zeros" in one else one["value"].encode()
        producers[how].produce(
            order["topic"], value, key=key.encode() if key is not None else None, headers=headers,
            on_delivery=deliver(place),
        )
    producers[how].flush(10)
    return told


def read(order):
    """Everything that a topic has."""
    settings = {"bootstrap.servers": servers, "group.id": "reader", "enable.auto.commit": False, "check.crcs": True}
    consumer = Consumer({**base, **settings})
    count = len(consumer.list_topics(order["topic"], timeout=5).topics[order["topic"]].partitions)
    ends, places = 0, []
    for number in range(count):
        low, high = consumer.get_watermark_offsets(TopicPartition(order["topic"], number), timeout=5)
        ends += high - low
        places.append(TopicPartition(order["topic"], number, low))
    consumer.assign(places)
    found, until = [], time.time() + 10
    while len(found) < ends and time.time() < until:
        m = consumer.poll(0.5)
        if m and not m.error():
            found.append({
                "partition": m.partition(), "offset": m.offset(),
                "key": m.key().decode() if m.key() is not None else None,
                "value": m.value().decode(), "headers": [[n, v.decode()] for n, v in m.headers() or []],
            })
    consumer.close()
    return sorted(found, key=lambda one: (one["partition"], one["offset"]))


def committed(order):
    consumer = Consumer({**base, "bootstrap.servers": servers, "group.id": order["group"]})
    places = [TopicPartition(order["topic"], number) for number in range(topic(order))]
    found = [max(place.offset, -1) for place in consumer.committed(places, timeout=5)]
    consumer.close()
    return found


def leaders(order):
    """The gates of those who lead the partitions of a topic, and of who coordinates a group."""
    found = mock.list_topics(order["topic"], timeout=5)
    of = {broker.id: broker.port for broker in found.brokers.values()}
    at = {gate.inner: number for number, gate in enumerate(gates)}
    partitions = found.topics[order["topic"]].partitions
    name = order["group"].encode()
    wanted = struct.pack(">hhihh", 10, 0, 1, -1, len(name)) + name
    with socket.create_connection(("127.0.0.1", brokers[0][1])) as stream:
        stream.sendall(struct.pack(">i", len(wanted)) + wanted)
        coordinator = struct.unpack(">i", frame(stream)[-4:])[0]
    return {"leaders": [at[of[partitions[number].leader]] for number in sorted(partitions)], "coordinator": at[coordinator]}


ports = wish.get("gates") or ([wish["gate"]] if "gate" in wish else [])
gates = [Gate(port, inner) for port, (_, inner) in zip(ports, brokers)]
for gate in gates:
    gate.swing(True)
print(json.dumps(",".join(f"127.0.0.1:{gate.port}" for gate in gates) or servers), flush=True)
for line in sys.stdin:
    order = json.loads(line)
    do = order["do"]
    if do == "gate":
        answer = gates[order.get("at", 0)].swing(order["open"])
    else:
        known = {"topic": topic, "produce": produce, "read": read, "committed": committed, "leaders": leaders}
        answer = known[do](order)
    print(json.dumps(answer), flush=True)
