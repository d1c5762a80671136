"""A client of Python's SDK for 0.3: client_old.py URL KEY OTHER_KEY. Prints what it saw as one line of JSON."""

import asyncio
import json
import sys
import warnings
from uuid import uuid4

import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.types import Message, Part, Role, TaskIdParams, TaskQueryParams, TextPart

warnings.simplefilter("ignore")
url, key, other_key = sys.argv[1:4]


def say(words, **more):
    return Message(role=Role.user, parts=[Part(root=TextPart(text=words))], message_id=uuid4().hex, **more)


def plain(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True) if model else None


async def open_client(key, streaming):
    http = httpx.AsyncClient(headers={"x-api-key": key}, timeout=30)
    card = await A2ACardResolver(http, url).get_agent_card()
    return card, ClientFactory(ClientConfig(httpx_client=http, streaming=streaming)).create(card)


async def refused(awaitable):
    try:
        await awaitable
    except Exception as error:
        return str(error)
    return None


async def main():
    report = {}
    card, client = await open_client(key, True)
    report["card"] = plain(card)
    events = [(plain(task), plain(update)) async for task, update in client.send_message(say("one two three"))]
    report["updates"] = [update for _, update in events if update]
    task = events[-1][0]
    report["task"] = task
    report["got"] = plain(await client.get_task(TaskQueryParams(id=task["id"])))
    _, whole = await open_client(key, False)
    asked = [plain(event[0]) async for event in whole.send_message(say("ask", context_id="my-own-talk"))][-1]
    report["asked"] = asked
    more = say("more", task_id=asked["id"], context_id=asked["contextId"], reference_task_ids=[task["id"]])
    report["again"] = [plain(event[0]) async for event in whole.send_message(more)][-1]
    long = None
    async for started, update in client.send_message(say(" ".join(["word"] * 30))):
        long = started.id
        if update:
            break
    report["long"] = long
    report["resumed"] = [plain(update) async for _, update in client.resubscribe(TaskIdParams(id=long))]
    slow = None
    async for started, update in client.send_message(say("slow")):
        slow = started.id
        if update:
            break

    async def follow():
        return [plain(update) async for _, update in client.resubscribe(TaskIdParams(id=slow))]

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.3)
    report["cancelled"] = plain(await whole.cancel_task(TaskIdParams(id=slow)))
    report["followed"] = await asyncio.wait_for(following, 20)
    report["slow"] = slow
    report["extended"] = plain(await whole.get_card())
    _, other = await open_client(other_key, False)
    report["foreign_get"] = await refused(other.get_task(TaskQueryParams(id=task["id"])))
    report["foreign_cancel"] = await refused(other.cancel_task(TaskIdParams(id=task["id"])))
    print(json.dumps(report))


asyncio.run(main())
