"""aioquic, a QUIC of other hands: requests, a move to another port, a second connection with early data."""

import asyncio
import os
import socket
import ssl
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration

HOST, PORT, CA, GO = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.waiting = {}

    def quic_event_received(self, event):
        for told in self.http.handle_event(event):
            if isinstance(told, (HeadersReceived, DataReceived)) and told.stream_id in self.waiting:
                answer, done = self.waiting[told.stream_id]
                if isinstance(told, HeadersReceived):
                    answer.setdefault("heads", []).append(dict(told.headers))
                else:
                    answer["body"] = answer.get("body", b"") + told.data
                if told.stream_ended:
                    done.set_result(answer)

    def begin(self, method, path, body=None, trailers=None):
        stream = self._quic.get_next_available_stream_id()
        head = [(b":method", method), (b":scheme", b"https"), (b":authority", b"a.test"), (b":path", path)]
        done = self._loop.create_future()
        self.waiting[stream] = ({}, done)
        self.http.send_headers(stream, head, end_stream=body is None)
        if body is not None:
            self.http.send_data(stream, body, end_stream=trailers is None)
        if trailers is not None:
            self.http.send_headers(stream, trailers, end_stream=True)
        self.transmit()
        return done

    async def ask(self, *args, **kwargs):
        return await asyncio.wait_for(self.begin(*args, **kwargs), 20)


class Early(Client):
    """Hears nothing before it is told to."""

    held = None

    def connection_made(self, transport):
        super().connection_made(transport)
        self.held = []

    def datagram_received(self, data, addr):
        if self.held is None:
            super().datagram_received(data, addr)
        else:
            self.held.append((data, addr))

    async def hear(self):
        while not os.path.exists(GO):
            await asyncio.sleep(0.02)
        held, self.held = self.held, None
        for data, addr in held:
            self.datagram_received(data, addr)


class Elsewhere(asyncio.DatagramProtocol):
    def __init__(self, client):
        self.client = client

    def datagram_received(self, data, addr):
        self.client.datagram_received(data, addr)


def configuration():
    made = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="a.test")
    made.load_verify_locations(CA)
    made.verify_mode = ssl.CERT_REQUIRED
    return made


def show(what, answer):
    print(what, answer["heads"][-1][b":status"].decode(), len(answer.get("body", b"")), flush=True)


async def main():
    tickets, tokens = [], []
    common = {"create_protocol": Client, "session_ticket_handler": tickets.append, "token_handler": tokens.append}
    async with connect(HOST, PORT, configuration=configuration(), **common) as client:
        show("get", await client.ask(b"GET", b"/get"))
        show("post", await client.ask(b"POST", b"/post", b"x" * 1_000_000, [(b"x-sum", b"1")]))
        many = await asyncio.gather(*(client.ask(b"GET", b"/many") for _ in range(50)))
        print("many", len({answer["heads"][-1][b":status"] for answer in many}), len(many), flush=True)
        for step in range(8):
            # Of both families, as its first one is.
            port = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            port.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            port.bind(("::", 0, 0, 0))
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: Elsewhere(client), sock=port
            )
            client._transport = transport
            if step % 2:
                client.change_connection_id()
            show(f"moved {step}", await client.ask(b"GET", b"/moved"))
        await asyncio.sleep(0.2)
    second = configuration()
    second.session_ticket = tickets[-1]
    second.token = tokens[-1] if tokens else b""
    common["create_protocol"] = Early
    async with connect(HOST, PORT, configuration=second, wait_connected=False, **common) as client:
        safe, unsafe = client.begin(b"GET", b"/early"), client.begin(b"POST", b"/early", b"x")
        await client.hear()
        show("early get", await asyncio.wait_for(safe, 20))
        show("early post", await asyncio.wait_for(unsafe, 20))
        print("accepted", client._quic.tls.early_data_accepted, flush=True)


asyncio.run(main())
