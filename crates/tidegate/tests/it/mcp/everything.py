"""A server of Python's SDK with a tool of every kind: everything.py PORT NAME [json] [sessions], or everything.py stdio NAME.

With `sessions` it knows no revision without them."""

import sys
import warnings

import mcp_types as types
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.message import ServerMessageMetadata
from pydantic import BaseModel

warnings.simplefilter("ignore")
port, name = sys.argv[1], sys.argv[2]
server = MCPServer(name, instructions=f"{name} remembers.")


class Colour(BaseModel):
    colour: str


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
async def work(ctx: Context) -> str:
    """Works in two steps."""
    await ctx.report_progress(0.5)
    await ctx.report_progress(1.0)
    return "done"


@server.tool()
async def ask(ctx: Context) -> str:
    """Asks the client for everything that a client can give."""
    question = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=f"A word for {name}?"))
    sampled = await ctx.session.create_message([question], max_tokens=10)
    answer = await ctx.elicit(message="Which colour?", schema=Colour)
    roots = await ctx.session.list_roots()
    await ctx.info(f"a word of {name}")
    await ctx.session.send_tool_list_changed()
    return f"{sampled.content.text}; {answer.action}ed with {answer.data.colour}; {len(roots.roots)} root"


@server.tool()
async def ask_here(ctx: Context) -> str:
    """The same, all of it in the stream of its call."""
    question = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=f"A word for {name}?"))
    here = ctx.request_id
    sampled = await ctx.session.create_message([question], max_tokens=10, related_request_id=here)
    answer = await ctx.elicit(message="Which colour?", schema=Colour)
    metadata = ServerMessageMetadata(related_request_id=here)
    roots = await ctx.session.send_request(types.ListRootsRequest(), types.ListRootsResult, metadata=metadata)
    return f"{sampled.content.text}; {answer.action}ed with {answer.data.colour}; {len(roots.roots)} root"


@server.tool()
async def change(ctx: Context) -> str:
    """Changes its resource, and says so to whoever wanted to know: in the one revision and in the others."""
    uri = f"memo://{name}/today"
    await ctx.notify_resource_updated(uri)
    await ctx.notify_tools_changed()
    await ctx.session.send_resource_updated(uri)
    await ctx.session.send_tool_list_changed()
    return "changed"


@server.resource(f"memo://{name}/today")
def today() -> str:
    return f"today of {name}"


@server.resource(f"memo://{name}/notes/{{number}}")
def note(number: str) -> str:
    return f"note {number} of {name}"


@server.prompt()
def greet(who: str) -> str:
    return f"{name} greets {who}"


@server.completion()
async def complete(ref, argument, context):
    values = [one for one in ["Ada", "Alan", "Bo"] if one.startswith(argument.value)]
    return types.Completion(values=values, total=len(values), has_more=False)


async def noted(context, params):
    wanted.append(str(params.uri))
    return types.EmptyResult()


async def forgotten(context, params):
    wanted.remove(str(params.uri))
    return types.EmptyResult()


wanted = []
low = server._lowlevel_server
low.add_request_handler("resources/subscribe", types.SubscribeRequestParams, noted)
low.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, forgotten)


if port == "stdio":
    server.run("stdio")
    sys.exit()


class Server(uvicorn.Server):
    """Says when it listens."""

    async def startup(self, sockets=None):
        await super().startup(sockets)
        print("ready", flush=True)


def with_sessions_alone(app):
    """The application as if it knew no revision without sessions."""

    async def old(scope, receive, send):
        if (b"mcp-protocol-version", b"2026-07-28") not in scope.get("headers", []):
            return await app(scope, receive, send)
        error = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Unsupported protocol version"}}'
        await send({"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": error})

    return old


app = server.streamable_http_app(json_response="json" in sys.argv)
if "sessions" in sys.argv:
    app = with_sessions_alone(app)
Server(uvicorn.Config(app, host="127.0.0.1", port=int(port), log_level="warning")).run()
