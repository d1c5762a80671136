"""Asks for features through one official SDK, as its users do, and prints what came of each, a JSON object a line.

usage: features.py SDK BASE KEY MODEL...
"""

import base64
import json
import os
import sys

import pydantic

sdk, base, key, *models = sys.argv[1:]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = base64.b64encode(b"%PDF-1.4 tide table").decode()
SOUND = base64.b64encode(b"RIFF\x24\x00\x00\x00WAVEfmt of the tide").decode()
PORT = {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]}
RESULTS = ["at noon", "no such port"]


class Tide(pydantic.BaseModel):
    port: str
    height: int


SCHEMA = {
    "type": "object",
    "properties": {"port": {"type": "string"}, "height": {"type": "integer"}},
    "required": ["port", "height"],
    "additionalProperties": False,
}


def ask(case):
    return f"feature: {case}"


def openai_chat(model):
    from openai import OpenAI

    client = OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)
    tools = [{"type": "function", "function": {"name": n, "parameters": PORT}} for n in ("get_tide", "get_wind")]

    def say(case, *parts, **more):
        content = [{"type": "text", "text": ask(case)}, *parts]
        messages = [{"role": "user", "content": content}]
        return client.chat.completions.create(model=model, messages=messages, **more).choices[0].message

    def calls(case):
        message = say(case, tools=tools)
        messages = [{"role": "user", "content": ask(case)}, message.model_dump(exclude_none=True)]
        for call, result in zip(message.tool_calls, RESULTS):
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        made = [(c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls]
        told = client.chat.completions.create(model=model, messages=messages, tools=tools)
        return made, told.choices[0].message.content

    def parse(case):
        messages = [{"role": "user", "content": ask(case)}]
        answer = client.chat.completions.parse(model=model, messages=messages, response_format=Tide)
        return answer.choices[0].message.parsed.model_dump()

    def custom(case):
        note = [{"type": "custom", "custom": {"name": "note", "description": "Writes it down."}}]
        call = say(case, tools=note).tool_calls[0]
        return [call.type, call.custom.name, call.custom.input]

    def streamed(case):
        messages = [{"role": "user", "content": ask(case)}]
        with client.chat.completions.stream(model=model, messages=messages, response_format=Tide) as stream:
            return stream.get_final_completion().choices[0].message.parsed.model_dump()

    knobs = dict(stop=["END"], seed=7, frequency_penalty=0.5, presence_penalty=0.25, service_tier="flex", user="u-1")
    file = {"type": "file", "file": {"filename": "tides.pdf", "file_data": "data:application/pdf;base64," + PDF}}
    sound = {"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}}
    named = {"type": "function", "function": {"name": "get_wind"}}
    return {
        "document": lambda case: say(case, file).content,
        "audio": lambda case: say(case, sound).content,
        "forced": lambda case: say(case, tools=tools, tool_choice=named).tool_calls[0].function.name,
        "single": lambda case: len(say(case, tools=tools, parallel_tool_calls=False).tool_calls),
        "parse": parse,
        "calls": calls,
        "json": lambda case: json.loads(say(case, response_format={"type": "json_object"}).content),
        "knobs": lambda case: say(case, **knobs).content,
        "custom": custom,
        "streamed": streamed,
    }


def openai_responses(model):
    from openai import OpenAI

    client = OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)
    tools = [
        {"type": "function", "name": n, "parameters": PORT, "strict": False} for n in ("get_tide", "get_wind")
    ]

    def say(case, *parts, **more):
        asked = [{"role": "user", "content": [{"type": "input_text", "text": ask(case)}, *parts]}]
        return client.responses.create(model=model, input=asked, **more)

    def made(answer):
        return [(item.name, json.loads(item.arguments)) for item in answer.output if item.type == "function_call"]

    def calls(case, results=RESULTS):
        answer = say(case, tools=tools)
        items = [{"role": "user", "content": ask(case)}, *answer.output]
        for call, result in zip([i for i in answer.output if i.type == "function_call"], results):
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": result})
        return made(answer), client.responses.create(model=model, input=items, tools=tools).output_text

    def picture(case):
        image = {"type": "input_image", "image_url": "data:image/png;base64," + PIXEL, "detail": "auto"}
        return calls(case, [[{"type": "input_text", "text": RESULTS[0]}, image]])

    def custom(case):
        call = say(case, tools=[{"type": "custom", "name": "note", "description": "Writes it down."}]).output[0]
        return [call.type.removesuffix("_tool_call"), call.name, call.input]

    def streamed(case):
        with client.responses.stream(model=model, input=ask(case), text_format=Tide) as stream:
            return stream.get_final_response().output_parsed.model_dump()

    knobs = dict(temperature=0.5, top_p=0.5, service_tier="flex", safety_identifier="u-1")
    file = {"type": "input_file", "filename": "tides.pdf", "file_data": "data:application/pdf;base64," + PDF}
    return {
        "document": lambda case: say(case, file).output_text,
        "forced": lambda case: made(say(case, tools=tools, tool_choice={"type": "function", "name": "get_wind"}))[0][0],
        "single": lambda case: len(made(say(case, tools=tools, parallel_tool_calls=False))),
        "parse": lambda case: client.responses.parse(
            model=model, input=ask(case), text_format=Tide
        ).output_parsed.model_dump(),
        "calls": calls,
        "picture": picture,
        "json": lambda case: json.loads(say(case, text={"format": {"type": "json_object"}}).output_text),
        "knobs": lambda case: say(case, **knobs).output_text,
        "custom": custom,
        "streamed": streamed,
    }


def anthropic(model):
    from anthropic import Anthropic

    client = Anthropic(base_url=base, api_key=key, max_retries=0)
    tools = [{"name": n, "input_schema": PORT} for n in ("get_tide", "get_wind")]

    def say(case, *parts, **more):
        messages = [{"role": "user", "content": [{"type": "text", "text": ask(case)}, *parts]}]
        return client.messages.create(model=model, max_tokens=200, messages=messages, **more)

    def made(answer):
        return [(block.name, block.input) for block in answer.content if block.type == "tool_use"]

    def calls(case, results):
        answer = say(case, tools=tools)
        uses = [block for block in answer.content if block.type == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": use.id, **r} for use, r in zip(uses, results)]
        messages = [
            {"role": "user", "content": ask(case)},
            {"role": "assistant", "content": answer.content},
            {"role": "user", "content": results},
        ]
        told = client.messages.create(model=model, max_tokens=200, messages=messages, tools=tools)
        return made(answer), told.content[0].text

    def parse(case):
        messages = [{"role": "user", "content": ask(case)}]
        answer = client.messages.parse(model=model, max_tokens=200, messages=messages, output_format=Tide)
        return answer.parsed_output.model_dump()

    def count(case):
        messages = [{"role": "user", "content": ask(case)}]
        return client.messages.count_tokens(model=model, messages=messages, tools=tools).input_tokens > 0

    def streamed(case):
        messages = [{"role": "user", "content": ask(case)}]
        ask_for = dict(model=model, max_tokens=200, messages=messages, output_format=Tide)
        with client.messages.stream(**ask_for) as stream:
            return stream.get_final_message().parsed_output.model_dump()

    marked = [{"type": "text", "text": "Be terse.", "cache_control": {"type": "ephemeral"}}]
    knobs = dict(stop_sequences=["END"], metadata={"user_id": "u-1"})
    document = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    single = {"type": "auto", "disable_parallel_tool_use": True}
    text = {"type": "text", "text": RESULTS[0]}
    failed = [{"content": RESULTS[0]}, {"content": RESULTS[1], "is_error": True}]
    return {
        "document": lambda case: say(case, document).content[0].text,
        "forced": lambda case: made(say(case, tools=tools, tool_choice={"type": "tool", "name": "get_wind"}))[0][0],
        "single": lambda case: len(made(say(case, tools=tools, tool_choice=single))),
        "parse": parse,
        "failure": lambda case: calls(case, failed),
        "picture": lambda case: calls(case, [{"content": [text, image]}]),
        "count": count,
        "knobs": lambda case: say(case, **knobs).content[0].text,
        "marks": lambda case: say(case, system=marked).content[0].text,
        "streamed": streamed,
    }


def gemini(model):
    from google import genai
    from google.genai import types

    client = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=base))
    declared = [{"name": n, "parameters_json_schema": PORT} for n in ("get_tide", "get_wind")]
    tools = [types.Tool(function_declarations=declared)]
    by_hand = types.AutomaticFunctionCallingConfig(disable=True)

    def say(contents, **more):
        config = types.GenerateContentConfig(automatic_function_calling=by_hand, **more)
        return client.models.generate_content(model=model, contents=contents, config=config)

    def bytes_of(text, kind):
        return types.Part.from_bytes(data=base64.b64decode(text), mime_type=kind)

    def made(answer):
        return [(call.name, call.args) for call in answer.function_calls]

    def calls(case):
        answer = say([ask(case)], tools=tools)
        results = [{"output": RESULTS[0]}, {"error": RESULTS[1]}]
        parts = [
            types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response=result))
            for call, result in zip(answer.function_calls, results)
        ]
        asked = types.Content(role="user", parts=[types.Part(text=ask(case))])
        contents = [asked, answer.candidates[0].content, types.Content(role="user", parts=parts)]
        return made(answer), say(contents, tools=tools).text

    def forced(case):
        calling = types.FunctionCallingConfig(mode="ANY", allowed_function_names=["get_wind"])
        return made(say([ask(case)], tools=tools, tool_config=types.ToolConfig(function_calling_config=calling)))[0][0]

    def parse(case):
        answer = say([ask(case)], response_mime_type="application/json", response_schema=Tide)
        return answer.parsed.model_dump()

    def streamed(case):
        config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Tide)
        chunks = client.models.generate_content_stream(model=model, contents=[ask(case)], config=config)
        return json.loads("".join(chunk.text or "" for chunk in chunks))

    knobs = dict(stop_sequences=["END"], seed=7, frequency_penalty=0.5, presence_penalty=0.25)
    return {
        "json": lambda case: json.loads(say([ask(case)], response_mime_type="application/json").text),
        "knobs": lambda case: say([ask(case)], **knobs).text,
        "streamed": streamed,
        "document": lambda case: say([ask(case), bytes_of(PDF, "application/pdf")]).text,
        "audio": lambda case: say([ask(case), bytes_of(SOUND, "audio/wav")]).text,
        "forced": forced,
        "parse": parse,
        "failure": calls,
        "count": lambda case: client.models.count_tokens(model=model, contents=ask(case)).total_tokens > 0,
    }


def bedrock(model):
    import boto3
    from botocore.config import Config

    # It signs with what the gateway does not believe, and the gateway's key stands in a field of its own.
    os.environ.update(AWS_ACCESS_KEY_ID="AKIDOFTHECALLER", AWS_SECRET_ACCESS_KEY="the-callers-secret")
    config = Config(retries={"total_max_attempts": 1})
    client = boto3.client("bedrock-runtime", endpoint_url=base, region_name="eu-west-1", config=config)
    client.meta.events.register("before-sign", lambda request, **_: request.headers.add_header("x-api-key", key))
    tools = [{"toolSpec": {"name": n, "inputSchema": {"json": PORT}}} for n in ("get_tide", "get_wind")]

    def say(case, *parts, **more):
        messages = [{"role": "user", "content": [{"text": ask(case)}, *parts]}]
        return client.converse(modelId=model, messages=messages, **more)["output"]["message"]

    def made(message):
        return [(b["toolUse"]["name"], b["toolUse"]["input"]) for b in message["content"] if "toolUse" in b]

    def text(message):
        return "".join(block.get("text", "") for block in message["content"])

    def calls(case, results):
        message = say(case, toolConfig={"tools": tools})
        uses = [block["toolUse"] for block in message["content"] if "toolUse" in block]
        results = [{"toolResult": {"toolUseId": use["toolUseId"], **r}} for use, r in zip(uses, results)]
        asked = {"role": "user", "content": [{"text": ask(case)}]}
        messages = [asked, message, {"role": "user", "content": results}]
        told = client.converse(modelId=model, messages=messages, toolConfig={"tools": tools})
        return made(message), text(told["output"]["message"])

    def parse(case):
        form = {"type": "json_schema", "structure": {"jsonSchema": {"schema": json.dumps(SCHEMA), "name": "Tide"}}}
        return json.loads(text(say(case, outputConfig={"textFormat": form})))

    def count(case):
        messages = [{"role": "user", "content": [{"text": ask(case)}]}]
        return client.count_tokens(modelId=model, input={"converse": {"messages": messages}})["inputTokens"] > 0

    form = {"type": "json_schema", "structure": {"jsonSchema": {"schema": json.dumps(SCHEMA), "name": "Tide"}}}

    def streamed(case):
        messages = [{"role": "user", "content": [{"text": ask(case)}]}]
        stream = client.converse_stream(modelId=model, messages=messages, outputConfig={"textFormat": form})["stream"]
        deltas = [event["contentBlockDelta"]["delta"] for event in stream if "contentBlockDelta" in event]
        return json.loads("".join(delta.get("text", "") for delta in deltas))

    knobs = {"stopSequences": ["END"], "topP": 0.5}
    document = {"document": {"format": "pdf", "name": "tides", "source": {"bytes": base64.b64decode(PDF)}}}
    sound = {"audio": {"format": "wav", "source": {"bytes": base64.b64decode(SOUND)}}}
    image = {"image": {"format": "png", "source": {"bytes": base64.b64decode(PIXEL)}}}
    chosen = {"tools": tools, "toolChoice": {"tool": {"name": "get_wind"}}}
    failed = [{"content": [{"text": RESULTS[0]}]}, {"content": [{"text": RESULTS[1]}], "status": "error"}]
    return {
        "document": lambda case: text(say(case, document)),
        "audio": lambda case: text(say(case, sound)),
        "forced": lambda case: made(say(case, toolConfig=chosen))[0][0],
        "parse": parse,
        "failure": lambda case: calls(case, failed),
        "picture": lambda case: calls(case, [{"content": [{"text": RESULTS[0]}, image]}]),
        "count": count,
        "knobs": lambda case: text(say(case, inferenceConfig=knobs)),
        "marks": lambda case: text(say(case, {"cachePoint": {"type": "default"}})),
        "streamed": streamed,
    }


def cohere(model):
    import cohere as sdk_

    client = sdk_.ClientV2(api_key=key, base_url=base)
    tools = [{"type": "function", "function": {"name": n, "parameters": PORT}} for n in ("get_tide", "get_wind")]

    def say(messages, **more):
        return client.chat(model=model, messages=messages, **more, request_options={"max_retries": 0}).message

    def made(message):
        return [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]

    def text(message):
        return "".join(block.text for block in message.content or [] if block.type == "text")

    def user(case):
        return {"role": "user", "content": ask(case)}

    def calls(case):
        message = say([user(case)], tools=tools)
        sent = [call.model_dump() for call in message.tool_calls]
        messages = [user(case), {"role": "assistant", "tool_calls": sent, "tool_plan": message.tool_plan or ""}]
        for call, result in zip(message.tool_calls, RESULTS):
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        return made(message), text(say(messages, tools=tools))

    def parse(case):
        form = {"type": "json_object", "json_schema": SCHEMA}
        return json.loads(text(say([user(case)], response_format=form)))

    def streamed(case):
        form = {"type": "json_object", "json_schema": SCHEMA}
        events = client.chat_stream(model=model, messages=[user(case)], response_format=form)
        deltas = [event.delta.message.content.text for event in events if event.type == "content-delta"]
        return json.loads("".join(deltas))

    knobs = dict(stop_sequences=["END"], seed=7, frequency_penalty=0.5, presence_penalty=0.25)
    return {
        "json": lambda case: json.loads(text(say([user(case)], response_format={"type": "json_object"}))),
        "knobs": lambda case: text(say([user(case)], **knobs)),
        "streamed": streamed,
        "forced": lambda case: made(say([user(case)], tools=tools[1:], tool_choice="REQUIRED"))[0][0],
        "parse": parse,
        "calls": calls,
    }


for model in models:
    for case, call in globals()[sdk.replace("-", "_")](model).items():
        try:
            print(json.dumps([model, case, call(case)]))
        except Exception as error:  # noqa: BLE001: the test judges it
            print(json.dumps([model, case, f"{type(error).__name__}: {error}"]))
