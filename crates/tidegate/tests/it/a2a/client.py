"""A client of Python's SDK for 1.0: client.py URL KEY OTHER_KEY BINDING. Prints what it saw as one line of JSON."""

import asyncio
import json
import sys
import warnings

import httpx
from a2a.client.card_resolver import A2ACardResolver
from a2a.client.client import ClientConfig
from a2a.client.client_factory import ClientFactory
from a2a.helpers.proto_helpers import new_text_message
from a2a.types.a2a_pb2 import (
    CancelTaskRequest, GetTaskRequest, ListTasksRequest, Role, SendMessageRequest, SubscribeToTaskRequest,
)
from google.protobuf.json_format import MessageToDict

warnings.simplefilter("ignore")
url, key, other_key, binding = sys.argv[1:5]


def say(words, **more):
    return SendMessageRequest(message=new_text_message(words, role=Role.ROLE_USER, **more))


async def open_client(key, streaming):
    http = httpx.AsyncClient(headers={"x-api-key": key}, timeout=30)
    card = await A2ACardResolver(http, url).get_agent_card()
    return card, ClientFactory(ClientConfig(httpx_client=http, streaming=streaming, supported_protocol_bindings=[binding])).create(card)


async def refused(awaitable):
    try:
        await awaitable
    except Exception as error:
        return type(error).__name__
    return None


async def main():
    report = {}
    card, client = await open_client(key, True)
    report["card"] = MessageToDict(card)
    events = [MessageToDict(event) async for event in client.send_message(say("one two three"))]
    report["events"] = events
    task = events[0]["task"]
    got = MessageToDict(await client.get_task(GetTaskRequest(id=task["id"])))
    report["got"] = got
    _, whole = await open_client(key, False)
    sent = [MessageToDict(event) async for event in whole.send_message(say("ask", context_id="my-own-talk"))]
    report["sent"] = sent
    asked = sent[-1]["task"]
    again = [MessageToDict(event) async for event in
             whole.send_message(say("more", task_id=asked["id"], context_id="my-own-talk"))]
    report["again"] = again
    slow = None
    async for event in client.send_message(say("slow")):
        event = MessageToDict(event)
        slow = slow or event["task"]["id"]
        if "statusUpdate" in event:
            break

    async def follow():
        seen = []
        async for event in client.subscribe(SubscribeToTaskRequest(id=slow)):
            seen.append(MessageToDict(event))
        return seen

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.3)
    report["cancelled"] = MessageToDict(await whole.cancel_task(CancelTaskRequest(id=slow)))
    report["followed"] = await asyncio.wait_for(following, 20)
    report["slow"] = slow
    listed = await whole.list_tasks(ListTasksRequest(context_id=task["contextId"]))
    report["listed"] = [one.id for one in listed.tasks]
    report["list_all"] = await refused(whole.list_tasks(ListTasksRequest()))
    _, other = await open_client(other_key, False)
    report["foreign_get"] = await refused(other.get_task(GetTaskRequest(id=task["id"])))
    report["foreign_cancel"] = await refused(other.cancel_task(CancelTaskRequest(id=task["id"])))

    async def foreign_send():
        return [event async for event in other.send_message(say("x", task_id=asked["id"]))]

    report["foreign_send"] = await refused(foreign_send())
    listed = await other.list_tasks(ListTasksRequest(context_id=task["contextId"]))
    report["foreign_list"] = [one.id for one in listed.tasks]
    print(json.dumps(report))


asyncio.run(main())
