"""A client of Python's SDK: client.py URL KEY MODE. Prints what it saw as one line of JSON."""

import asyncio
import contextlib
import json
import sys
import warnings

import mcp_types as types
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

warnings.simplefilter("ignore")
url, key, mode = sys.argv[1:4]
report = {"progress": [], "changed": [], "logged": [], "updated": []}


async def sample(context, params):
    asked = params.messages[0].content.text
    text = types.TextContent(type="text", text="a sampled word for " + asked.split()[-1].rstrip("?"))
    return types.CreateMessageResult(role="assistant", content=text, model="test", stop_reason="endTurn")


async def elicit(context, params):
    return types.ElicitResult(action="accept", content={"colour": "blue"})


async def roots(context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///tmp")])


async def log(params):
    report["logged"].append(params.data)


async def seen(message):
    if isinstance(message, types.ToolListChangedNotification):
        report["changed"].append("tools")
    if isinstance(message, types.ResourceUpdatedNotification):
        report["updated"].append(str(message.params.uri))


async def progress(part, total, message):
    report["progress"].append(part)


def text(result):
    return result.content[0].text


async def use(session):
    report["tools"] = [tool.name for tool in (await session.list_tools()).tools]
    report["prompts"] = [prompt.name for prompt in (await session.list_prompts()).prompts]
    report["resources"] = [str(one.uri) for one in (await session.list_resources()).resources]
    report["templates"] = [one.uri_template for one in (await session.list_resource_templates()).resource_templates]
    report["sum"] = text(await session.call_tool("shop_add", {"a": 2, "b": 3}))
    report["memo"] = (await session.read_resource("memo://docs/today")).contents[0].text
    report["memo_by_template"] = (await session.read_resource("memo://shop/notes/7")).contents[0].text
    got = await session.get_prompt("shop_greet", {"who": "Ada"})
    report["greeting"] = got.messages[0].content.text
    about = types.PromptReference(type="ref/prompt", name="shop_greet")
    report["completed"] = (await session.complete(about, {"name": "who", "value": "A"})).completion.values
    if mode == "simple":
        return
    await session.call_tool("shop_work", {}, progress_callback=progress)
    if mode == "alone":
        report["asked"] = text(await session.call_tool("shop_ask_here", {}))
        await session.call_tool("shop_change", {})
        await asyncio.sleep(0.5)
    if mode == "subscribed":
        await session.subscribe_resource("memo://shop/today")
        await session.call_tool("shop_change", {})
        await asyncio.sleep(0.5)
        await session.unsubscribe_resource("memo://shop/today")
    if mode == "legacy":
        report["asked"] = text(await session.call_tool("shop_ask", {}))
        await asyncio.sleep(0.3)


async def modern():
    from mcp import Client

    async with create_mcp_http_client(headers={"x-api-key": key}) as http:
        async with Client(streamable_http_client(url, http_client=http), mode="2026-07-28") as client:
            report["revision"] = client.protocol_version
            await use(client)
            # Of the resources of both, it wants to hear of one.
            async with client.listen(tools_list_changed=True, resource_subscriptions=["memo://shop/today"]) as changes:
                for tool in ("change", "shop_change"):
                    await client.call_tool(tool, {})
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(2):
                        async for change in changes:
                            report["updated"].append(getattr(change, "uri", type(change).__name__))


async def asked():
    from mcp import Client

    async with create_mcp_http_client(headers={"x-api-key": key}) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(
            transport, mode="2026-07-28", sampling_callback=sample, elicitation_callback=elicit, list_roots_callback=roots
        ) as client:
            report["revision"] = client.protocol_version
            report["asked"] = text(await client.call_tool("shop_ask_here", {}))


async def main():
    if mode == "asked":
        await asked()
        print(json.dumps(report))
        return
    if mode == "modern":
        await modern()
        print(json.dumps(report))
        return
    async with create_mcp_http_client(headers={"x-api-key": key}) as http:
        async with streamable_http_client(url, http_client=http) as (read, write):
            async with ClientSession(
                read, write, sampling_callback=sample, elicitation_callback=elicit, list_roots_callback=roots,
                logging_callback=log, message_handler=seen,
            ) as session:
                begun = await session.initialize()
                report["instructions"] = begun.instructions
                report["revision"] = begun.protocol_version
                await use(session)
    print(json.dumps(report))


asyncio.run(main())
