"""A client of Python's SDK that uses tools of the gateway's own: local.py URL KEY MODE. Prints what it saw as JSON."""

import asyncio
import json
import sys
import warnings

from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

warnings.simplefilter("ignore")
url, key, mode = sys.argv[1:4]


def plain(result):
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


async def use(session):
    report = {"tools": [plain(tool) for tool in (await session.list_tools()).tools]}
    report["pet"] = plain(await session.call_tool("pets_getPet", {"petId": "7"}))
    report["created"] = plain(await session.call_tool("pets_createPet", {"body": {"name": "Rex", "nick": None}}))
    report["missing"] = plain(await session.call_tool("pets_getPet", {"petId": "gone"}))
    report["misfit"] = plain(await session.call_tool("pets_listPets", {"limit": 1000}))
    report["photo"] = plain(await session.call_tool("pets_photo", {"petId": "7"}))
    report["summary"] = plain(await session.call_tool("ai_summary", {"text": "a long tale"}))
    report["asked"] = plain(await session.call_tool("ai_ask", {"prompt": "why?", "system": "Be brief."}))
    return report


async def main():
    async with create_mcp_http_client(headers={"x-api-key": key}) as http:
        if mode == "modern":
            from mcp import Client

            async with Client(streamable_http_client(url, http_client=http), mode="2026-07-28") as client:
                report = await use(client)
                report["revision"] = client.protocol_version
        else:
            async with streamable_http_client(url, http_client=http) as (read, write):
                async with ClientSession(read, write) as session:
                    begun = await session.initialize()
                    report = await use(session)
                    report["revision"] = begun.protocol_version
    print(json.dumps(report))


asyncio.run(main())
