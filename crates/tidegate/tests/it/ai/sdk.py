"""Calls the gateway through one official SDK and prints what it understood, a JSON object a line.

usage: sdk.py SDK BASE KEY MODEL CASE... ; a case that begins with `stream:` is asked for as a stream, one that begins
with `image:` together with a picture, with `stream+image:` both. `CASE@MODEL` and `CASE@MODEL@KEY` are asked of another model, with another key.
"""

import base64
import json
import os
import sys

sdk, base, key, model, *cases = sys.argv[1:]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
DATA_URL = "data:image/png;base64," + PIXEL
PORT = {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]}


class StreamFailed(Exception):
    """What an SDK tells of a stream that fails by a value of its own, and not by an exception."""


def openai_chat():
    from openai import AzureOpenAI, OpenAI

    if sdk == "azure":
        client = AzureOpenAI(azure_endpoint=base, api_key=key, api_version="2024-10-21", max_retries=0)
    else:
        client = OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)
    tools = [{"type": "function", "function": {"name": "get_tide", "parameters": PORT}}]

    def call(prompt, stream, image):
        content = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": DATA_URL}}]
        asked = {"model": model, "messages": [{"role": "user", "content": content if image else prompt}], "tools": tools}
        if not stream:
            answer = client.chat.completions.create(**asked)
            choice = answer.choices[0]
            calls = [(c.function.name, json.loads(c.function.arguments)) for c in choice.message.tool_calls or []]
            return choice.message.content or None, calls, answer.usage.prompt_tokens, answer.usage.completion_tokens
        with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
            for _ in events:
                pass
            answer = events.get_final_completion()
        message = answer.choices[0].message
        calls = [(c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls or []]
        return message.content or None, calls, answer.usage.prompt_tokens, answer.usage.completion_tokens

    return call


def openai_async():
    import asyncio

    from openai import AsyncOpenAI

    async def asked(prompt, stream):
        async with AsyncOpenAI(base_url=base + "/v1", api_key=key, max_retries=0) as client:
            messages = [{"role": "user", "content": prompt}]
            if not stream:
                return await client.chat.completions.create(model=model, messages=messages)
            options = {"include_usage": True}
            async with client.chat.completions.stream(model=model, messages=messages, stream_options=options) as events:
                return await events.get_final_completion()

    def call(prompt, stream, image):
        answer = asyncio.run(asked(prompt, stream))
        return answer.choices[0].message.content, [], answer.usage.prompt_tokens, answer.usage.completion_tokens

    return call


def openai_responses():
    from openai import OpenAI

    client = OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)
    tools = [{"type": "function", "name": "get_tide", "parameters": PORT, "strict": False}]

    def call(prompt, stream, image):
        content = [{"type": "input_text", "text": prompt}, {"type": "input_image", "image_url": DATA_URL, "detail": "auto"}]
        asked = {"model": model, "input": [{"role": "user", "content": content}] if image else prompt, "tools": tools}
        if stream:
            with client.responses.stream(**asked) as events:
                for event in events:
                    if event.type == "error":
                        raise StreamFailed(event.message)
                answer = events.get_final_response()
        else:
            answer = client.responses.create(**asked)
        calls = [(i.name, json.loads(i.arguments)) for i in answer.output if i.type == "function_call"]
        return answer.output_text or None, calls, answer.usage.input_tokens, answer.usage.output_tokens

    return call


def anthropic():
    from anthropic import Anthropic

    shown = {"auth_token": key} if sdk == "anthropic-token" else {"api_key": key}
    client = Anthropic(base_url=base, max_retries=0, **shown)
    tools = [{"name": "get_tide", "input_schema": PORT}]

    def call(prompt, stream, image):
        source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
        content = [{"type": "text", "text": prompt}, {"type": "image", "source": source}]
        messages = [{"role": "user", "content": content if image else prompt}]
        asked = {"model": model, "max_tokens": 100, "messages": messages, "tools": tools}
        if stream:
            with client.messages.stream(**asked) as events:
                answer = events.get_final_message()
        else:
            answer = client.messages.create(**asked)
        text = "".join(b.text for b in answer.content if b.type == "text")
        calls = [(b.name, b.input) for b in answer.content if b.type == "tool_use"]
        usage = answer.usage
        spent = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        return text or None, calls, spent, usage.output_tokens

    return call


def gemini():
    from google import genai
    from google.genai import types

    options = types.HttpOptions(base_url=base)
    if sdk == "vertex":
        from google.oauth2.credentials import Credentials

        shown = {"vertexai": True, "project": "p", "location": "l", "credentials": Credentials(token=key)}
    else:
        shown = {"api_key": key, "vertexai": sdk == "vertex-key"}
    client = genai.Client(http_options=options, **shown)
    tool = types.Tool(function_declarations=[{"name": "get_tide", "parameters_json_schema": PORT}])
    config = types.GenerateContentConfig(
        tools=[tool], automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
    )

    def call(prompt, stream, image):
        if image:
            prompt = [prompt, types.Part.from_bytes(data=base64.b64decode(PIXEL), mime_type="image/png")]
        if stream:
            chunks = list(client.models.generate_content_stream(model=model, contents=prompt, config=config))
        else:
            chunks = [client.models.generate_content(model=model, contents=prompt, config=config)]
        text, calls, usage = "", [], None
        for chunk in chunks:
            usage = chunk.usage_metadata or usage
            for candidate in chunk.candidates or []:
                for part in (candidate.content and candidate.content.parts) or []:
                    if part.function_call:
                        calls.append((part.function_call.name, part.function_call.args))
                    elif part.text and not part.thought:
                        text += part.text
        output = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
        return text or None, calls, usage.prompt_token_count, output

    return call


def cohere():
    import cohere as sdk_

    client = sdk_.ClientV2(api_key=key, base_url=base)
    tools = [{"type": "function", "function": {"name": "get_tide", "parameters": PORT}}]

    def call(prompt, stream, image):
        content = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": DATA_URL}}]
        asked = {"model": model, "messages": [{"role": "user", "content": content if image else prompt}], "tools": tools}
        if not stream:
            answer = client.chat(**asked, request_options={"max_retries": 0})
            text = "".join(c.text for c in answer.message.content or [] if c.type == "text")
            calls = [(c.function.name, json.loads(c.function.arguments)) for c in answer.message.tool_calls or []]
            tokens = answer.usage.billed_units
            return text or None, calls, int(tokens.input_tokens), int(tokens.output_tokens)
        text, calls, tokens = "", [], None
        for event in client.chat_stream(**asked, request_options={"max_retries": 0}):
            if event.type == "content-delta":
                text += event.delta.message.content.text or ""
            elif event.type == "tool-call-start":
                function = event.delta.message.tool_calls.function
                calls.append([function.name, function.arguments or ""])
            elif event.type == "tool-call-delta":
                calls[-1][1] += event.delta.message.tool_calls.function.arguments
            elif event.type == "message-end":
                if event.delta.finish_reason == "ERROR":
                    raise StreamFailed(event.delta.error)
                tokens = event.delta.usage.billed_units
        return text or None, [(n, json.loads(a)) for n, a in calls], int(tokens.input_tokens), int(tokens.output_tokens)

    return call


def bedrock():
    import boto3
    from botocore.config import Config

    # With `AWS_BEARER_TOKEN_BEDROCK` it shows that; else it signs, and the gateway's key stands in a field of its own.
    config = Config(retries={"total_max_attempts": 1})
    client = boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=base, config=config)
    if "AWS_BEARER_TOKEN_BEDROCK" not in os.environ:
        client.meta.events.register("before-sign", lambda request, **_: request.headers.add_header("x-api-key", key))
    tools = {"tools": [{"toolSpec": {"name": "get_tide", "inputSchema": {"json": PORT}}}]}

    def spent(usage):
        cached = usage.get("cacheReadInputTokens", 0) + usage.get("cacheWriteInputTokens", 0)
        return usage["inputTokens"] + cached, usage["outputTokens"]

    def call(prompt, stream, image):
        picture = {"image": {"format": "png", "source": {"bytes": base64.b64decode(PIXEL)}}}
        message = {"role": "user", "content": [{"text": prompt}, picture] if image else [{"text": prompt}]}
        asked = {"modelId": model, "messages": [message], "toolConfig": tools}
        if not stream:
            answer = client.converse(**asked)
            blocks = answer["output"]["message"]["content"]
            calls = [(b["toolUse"]["name"], b["toolUse"]["input"]) for b in blocks if "toolUse" in b]
            return "".join(b.get("text", "") for b in blocks) or None, calls, *spent(answer["usage"])
        text, calls, usage = "", {}, None
        for event in client.converse_stream(**asked)["stream"]:
            if "contentBlockStart" in event and "toolUse" in event["contentBlockStart"]["start"]:
                begun = event["contentBlockStart"]
                calls[begun["contentBlockIndex"]] = [begun["start"]["toolUse"]["name"], ""]
            elif "contentBlockDelta" in event:
                delta = event["contentBlockDelta"]["delta"]
                text += delta.get("text", "")
                if "toolUse" in delta:
                    calls[event["contentBlockDelta"]["contentBlockIndex"]][1] += delta["toolUse"]["input"]
            elif "metadata" in event:
                usage = event["metadata"]["usage"]
        return text or None, [(n, json.loads(a or "{}")) for n, a in calls.values()], *spent(usage)

    return call


def failure(error):
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    if status is None and getattr(error, "response", None) is not None:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return {"error": type(error).__name__, "status": status, "message": str(error), "hint": hint(error)}


def hint(error):
    """When to try again, where the SDK shows its users the header."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    else:
        headers = getattr(response, "headers", None) or getattr(error, "headers", None) or {}
    return headers.get("retry-after")


ways = {
    "openai-chat": openai_chat,
    "openai-responses": openai_responses,
    "anthropic": anthropic,
    "gemini": gemini,
    "cohere": cohere,
    "bedrock": bedrock,
    "azure": openai_chat,
    "openai-async": openai_async,
    "anthropic-token": anthropic,
    "vertex": gemini,
    "vertex-key": gemini,
}
call, asked_with = None, None
usual = (model, key)
for case in cases:
    asked, *other = case.split("@")
    model, key = (*other, *usual[len(other):])
    if asked_with != (model, key):
        call, asked_with = ways[sdk](), (model, key)
    try:
        how, _, what = asked.rpartition(":")
        text, calls, spent_in, spent_out = call("case: " + what, "stream" in how, "image" in how)
        print(json.dumps({"case": case, "text": text, "calls": calls, "input": spent_in, "output": spent_out}))
    except Exception as error:  # noqa: BLE001: the test judges it
        print(json.dumps({"case": case, **failure(error)}))
