"""The server that the conformance suite asks: mock.py PORT. Names and texts are the suite's own.

What it asks the client it asks on the stream of the call that it does so for. On the session's own stream a question is
lost when the suite has not opened that stream yet, and the scenario hangs.
"""

import asyncio
import base64
import itertools
import json
import sys
import warnings

import mcp_types as types
import uvicorn
from mcp.server.mcpserver import Audio, Context, Image, MCPServer
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.server.streamable_http import EventMessage, EventStore
from pydantic import BaseModel, Field

warnings.simplefilter("ignore")
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SILENCE = base64.b64decode("UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=")
server = MCPServer("conformance-mock", version="1.0.0")


class Events(EventStore):
    """Keeps events of all streams, so that one can be taken up again."""

    def __init__(self):
        self.number = itertools.count(1)
        self.events = {}

    async def store_event(self, stream_id, message):
        number = next(self.number)
        self.events[number] = (stream_id, message)
        return str(number)

    async def replay_events_after(self, last_event_id, send_callback):
        if not last_event_id.isdigit() or int(last_event_id) not in self.events:
            return None
        wanted = self.events[int(last_event_id)][0]
        for number, (stream, message) in list(self.events.items()):
            if stream == wanted and number > int(last_event_id) and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return wanted


def embedded(uri, kind, text):
    contents = types.TextResourceContents(uri=uri, mime_type=kind, text=text)
    return types.EmbeddedResource(type="resource", resource=contents)


@server.tool()
def test_simple_text() -> str:
    """Answers with a text."""
    return "This is a simple text response for testing."


@server.tool()
def test_image_content() -> list:
    """Answers with a picture."""
    return [Image(data=PIXEL, format="png")]


@server.tool()
def test_audio_content() -> list:
    """Answers with a sound."""
    return [Audio(data=SILENCE, format="wav")]


@server.tool()
def test_embedded_resource() -> list:
    """Answers with a resource."""
    return [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]


@server.tool()
def test_multiple_content_types() -> list:
    """Answers with several kinds of content."""
    resource = embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
    return ["Multiple content types test:", Image(data=PIXEL, format="png"), resource]


@server.tool()
async def test_tool_with_logging(ctx: Context) -> str:
    """Logs while it works."""
    for text in ["Tool execution started", "Tool processing data", "Tool execution completed"]:
        await ctx.info(text)
        await asyncio.sleep(0.05)
    return "logged"


@server.tool()
async def test_tool_with_progress(ctx: Context) -> str:
    """Tells how far it is."""
    for part in [0, 50, 100]:
        await ctx.report_progress(part, 100, f"Completed step {part} of 100")
        await asyncio.sleep(0.05)
    return "done"


@server.tool()
def test_error_handling() -> str:
    """Fails."""
    raise ValueError("This tool intentionally returns an error for testing")


@server.tool()
async def test_sampling(prompt: str, ctx: Context) -> str:
    """Has the client's model say something."""
    message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=prompt))
    answer = await ctx.session.create_message([message], max_tokens=100, related_request_id=ctx.request_id)
    return f"LLM response: {answer.content.text}"


class Person(BaseModel):
    username: str = Field(description="User's response")
    email: str = Field(description="User's email address")


@server.tool()
async def test_elicitation(message: str, ctx: Context) -> str:
    """Asks the user."""
    answer = await ctx.session.elicit_form(message, Person.model_json_schema(), ctx.request_id)
    return f"User response: {answer.action}, content: {json.dumps(answer.content)}"


DEFAULTS = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
TITLED = [{"const": f"value{number}", "title": f"{word} Option"} for number, word in
          [(1, "First"), (2, "Second"), (3, "Third")]]
PLAIN = ["option1", "option2", "option3"]
ENUMS = {
    "untitledSingle": {"type": "string", "enum": PLAIN},
    "titledSingle": {"type": "string", "oneOf": TITLED},
    "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": PLAIN}},
    "titledMulti": {"type": "array", "items": {"anyOf": TITLED}},
}


async def form(ctx, message, properties):
    schema = {"type": "object", "properties": properties, "required": []}
    answer = await ctx.session.elicit_form(message, schema, ctx.request_id)
    return f"Elicitation completed: action={answer.action}, content={json.dumps(answer.content)}"


@server.tool()
async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    """Asks with defaults."""
    return await form(ctx, "Please review and update the form fields with defaults", DEFAULTS)


@server.tool()
async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    """Asks for one of several."""
    return await form(ctx, "Please select options from the enum fields", ENUMS)


@server.tool()
async def test_reconnection(ctx: Context) -> str:
    """Closes its stream before it answers."""
    await ctx.close_sse_stream()
    await asyncio.sleep(0.3)
    return "Reconnection test completed successfully."


@server.resource("test://static-text", mime_type="text/plain")
def static_text() -> str:
    return "This is the content of the static text resource."


@server.resource("test://static-binary", mime_type="image/png")
def static_binary() -> bytes:
    return PIXEL


@server.resource("test://template/{id}/data", mime_type="application/json")
def by_template(id: str) -> str:
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


@server.resource("test://watched-resource", mime_type="text/plain")
def watched() -> str:
    return "Watched resource content"


@server.prompt()
def test_simple_prompt() -> str:
    """A prompt."""
    return "This is a simple prompt for testing."


@server.prompt()
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """A prompt of two arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.prompt()
def test_prompt_with_embedded_resource(resourceUri: str) -> list:
    """A prompt with a resource."""
    contents = embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
    return [UserMessage(contents), UserMessage("Please process the embedded resource above.")]


@server.prompt()
def test_prompt_with_image() -> list:
    """A prompt with a picture."""
    picture = types.ImageContent(type="image", data=base64.b64encode(PIXEL).decode(), mime_type="image/png")
    return [UserMessage(picture), UserMessage("Please analyze the image above.")]


@server.completion()
async def complete(ref, argument, context):
    values = [one for one in ["paris", "park", "party"] if one.startswith(argument.value)]
    return types.Completion(values=values, total=len(values), has_more=False)


SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": {"$anchor": "addressDef", "type": "object",
                          "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
    "properties": {
        "name": {"type": "string"}, "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"}, "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


async def nothing(context, params):
    return types.EmptyResult()


low = server._lowlevel_server
low.add_request_handler("logging/setLevel", types.SetLevelRequestParams, nothing)
low.add_request_handler("resources/subscribe", types.SubscribeRequestParams, nothing)
low.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, nothing)
listed = low.get_request_handler("tools/list")


async def list_tools(context, params):
    result = await listed.handler(context, params)
    result.tools.append(types.Tool(name="json_schema_2020_12_tool", description="Has a schema.", input_schema=SCHEMA))
    return result


low.add_request_handler("tools/list", types.PaginatedRequestParams, list_tools)

class Server(uvicorn.Server):
    """Says when it listens."""

    async def startup(self, sockets=None):
        await super().startup(sockets)
        print("ready", flush=True)


app = server.streamable_http_app(event_store=Events(), retry_interval=100)
Server(uvicorn.Config(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")).run()
