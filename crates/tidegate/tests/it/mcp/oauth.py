"""A client of Python's SDK without a token, whose user agrees to whatever is asked: oauth.py URL. Prints what it saw as one
line of JSON."""

import asyncio
import json
import sys
import urllib.parse
import warnings

import httpx2
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider, TokenStorage
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import OAuthClientMetadata

warnings.simplefilter("ignore")
url = sys.argv[1]
came_back = {}


class Kept(TokenStorage):
    """What it has learned, for as long as it runs."""

    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info


async def browse(to):
    async with httpx2.AsyncClient() as browser:
        answer = await browser.get(to)
    query = urllib.parse.urlparse(answer.headers["location"]).query
    came_back.update(urllib.parse.parse_qsl(query))


async def returned():
    return AuthorizationCodeResult(code=came_back["code"], state=came_back["state"], iss=came_back["iss"])


async def use(provider):
    report = {}
    async with create_mcp_http_client(auth=provider) as http:
        async with streamable_http_client(url, http_client=http) as (read, write):
            async with ClientSession(read, write) as session:
                await session.initialize()
                report["tools"] = [tool.name for tool in (await session.list_tools()).tools]
                report["first"] = (await session.call_tool("shop_buy", {})).content[0].text
                await asyncio.sleep(2.3)
                report["later"] = (await session.call_tool("shop_buy", {})).content[0].text
    return report


async def main():
    metadata = OAuthClientMetadata(
        client_name="test", redirect_uris=["http://localhost:9/back"], grant_types=["authorization_code", "refresh_token"]
    )
    provider = OAuthClientProvider(url, metadata, Kept(), redirect_handler=browse, callback_handler=returned)
    # A request is sent twice at most: with a token that has too few scopes it fails, and the next asks for more.
    try:
        report = await use(provider)
    except Exception:
        report = await use(provider)
    print(json.dumps(report))


asyncio.run(main())
