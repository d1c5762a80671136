"""Tool rounds through one official SDK: what came of each turn goes back as the SDK's users send it, with the results of
its calls, until the model calls nothing more. Prints the text of that last turn.

usage: rounds.py SDK BASE KEY MODEL...
"""

import json
import sys

sdk, base, key, *models = sys.argv[1:]
PORT = {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]}
UNPROVEN = ("deepinfra", "cohere")
ASK, TOLD = "When is high water in Brest?", "at noon"


def openai_chat(model, stream):
    from openai import OpenAI

    client = OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)
    tools = [{"type": "function", "function": {"name": "get_tide", "parameters": PORT}}]
    messages = [{"role": "user", "content": ASK}]

    def turn():
        asked = {"model": model, "messages": messages, "tools": tools, "reasoning_effort": "low"}
        if not stream:
            return client.chat.completions.create(**asked).choices[0].message
        with client.chat.completions.stream(**asked) as events:
            for _ in events:
                pass
            return events.get_final_completion().choices[0].message

    # What OpenAI's reference says that a message has, and nothing else; of models without proofs the whole message, as
    # their vendors ask for it.
    while (message := turn()).tool_calls:
        calls = [
            {"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}}
            for c in message.tool_calls
        ]
        kept = {"role": "assistant", "content": message.content, "tool_calls": calls}
        messages.append(message.model_dump(exclude_none=True) if model in UNPROVEN else kept)
        messages.extend({"role": "tool", "tool_call_id": c["id"], "content": TOLD} for c in calls)
    return message.content


def openai_responses(model, stream):
    from openai import OpenAI

    client = OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)
    tools = [{"type": "function", "name": "get_tide", "parameters": PORT, "strict": False}]
    items = [{"role": "user", "content": ASK}]

    def turn():
        asked = {"model": model, "input": items, "tools": tools, "reasoning": {"effort": "low"}, "store": False}
        asked["include"] = ["reasoning.encrypted_content"]
        if not stream:
            return client.responses.create(**asked)
        with client.responses.stream(**asked) as events:
            for _ in events:
                pass
            return events.get_final_response()

    answer = turn()
    while calls := [item for item in answer.output if item.type == "function_call"]:
        items.extend(item.model_dump(exclude_none=True) for item in answer.output)
        for item in items:
            item.pop("parsed_arguments", None)
        items.extend({"type": "function_call_output", "call_id": c.call_id, "output": TOLD} for c in calls)
        answer = turn()
    return answer.output_text


def anthropic(model, stream):
    from anthropic import Anthropic

    client = Anthropic(base_url=base, api_key=key, max_retries=0)
    messages = [{"role": "user", "content": ASK}]

    def turn():
        asked = {"model": model, "max_tokens": 4000, "messages": messages}
        asked["tools"] = [{"name": "get_tide", "input_schema": PORT}]
        asked["thinking"] = {"type": "enabled", "budget_tokens": 2000}
        if not stream:
            return client.messages.create(**asked)
        with client.messages.stream(**asked) as events:
            return events.get_final_message()

    answer = turn()
    while calls := [block for block in answer.content if block.type == "tool_use"]:
        messages.append({"role": "assistant", "content": answer.content})
        results = [{"type": "tool_result", "tool_use_id": c.id, "content": TOLD} for c in calls]
        messages.append({"role": "user", "content": results})
        answer = turn()
    return "".join(block.text for block in answer.content if block.type == "text")


def gemini(model, stream):
    from google import genai
    from google.genai import types

    client = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=base))
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[{"name": "get_tide", "parameters_json_schema": PORT}])],
        thinking_config=types.ThinkingConfig(thinking_budget=2000),
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    contents = [types.Content(role="user", parts=[types.Part(text=ASK)])]

    def turn():
        if stream:
            chunks = list(client.models.generate_content_stream(model=model, contents=contents, config=config))
        else:
            chunks = [client.models.generate_content(model=model, contents=contents, config=config)]
        parts = [p for c in chunks for a in c.candidates or [] for p in (a.content and a.content.parts) or []]
        # As the SDK's own chats do: what is empty is not kept.
        return [part for part in parts if part.text != ""]

    parts = turn()
    while calls := [part.function_call for part in parts if part.function_call]:
        contents.append(types.Content(role="model", parts=parts))
        results = [
            types.Part(function_response=types.FunctionResponse(id=c.id, name=c.name, response={"result": TOLD}))
            for c in calls
        ]
        contents.append(types.Content(role="user", parts=results))
        parts = turn()
    return "".join(part.text for part in parts if part.text and not part.thought)


def bedrock(model, stream):
    import os

    import boto3
    from botocore.config import Config

    # It signs with what the gateway does not believe, and the gateway's key stands in a field of its own.
    os.environ.update(AWS_ACCESS_KEY_ID="AKIDOFTHECALLER", AWS_SECRET_ACCESS_KEY="the-callers-secret")
    config = Config(retries={"total_max_attempts": 1})
    client = boto3.client("bedrock-runtime", endpoint_url=base, region_name="eu-west-1", config=config)
    client.meta.events.register("before-sign", lambda request, **_: request.headers.add_header("x-api-key", key))
    messages = [{"role": "user", "content": [{"text": ASK}]}]

    def turn():
        spec = {"name": "get_tide", "inputSchema": {"json": PORT}}
        asked = {"modelId": model, "messages": messages, "toolConfig": {"tools": [{"toolSpec": spec}]}}
        asked["additionalModelRequestFields"] = {"thinking": {"type": "enabled", "budget_tokens": 2000}}
        if not stream:
            return client.converse(**asked)["output"]["message"]
        blocks = {}
        for event in client.converse_stream(**asked)["stream"]:
            if begun := event.get("contentBlockStart"):
                if use := begun["start"].get("toolUse"):
                    blocks[begun["contentBlockIndex"]] = {"toolUse": {**use, "input": ""}}
            if more := event.get("contentBlockDelta"):
                at, delta = more["contentBlockIndex"], more["delta"]
                if "text" in delta:
                    blocks.setdefault(at, {"text": ""})["text"] += delta["text"]
                if "toolUse" in delta:
                    blocks[at]["toolUse"]["input"] += delta["toolUse"]["input"]
                if thought := delta.get("reasoningContent"):
                    if "redactedContent" in thought:
                        blocks[at] = {"reasoningContent": thought}
                        continue
                    whole = blocks.setdefault(at, {"reasoningContent": {"reasoningText": {"text": ""}}})
                    whole = whole["reasoningContent"]["reasoningText"]
                    for name in ("text", "signature"):
                        if name in thought:
                            whole[name] = whole.get(name, "") + thought[name]
        for block in blocks.values():
            if "toolUse" in block:
                block["toolUse"]["input"] = json.loads(block["toolUse"]["input"] or "{}")
        return {"role": "assistant", "content": [blocks[at] for at in sorted(blocks)]}

    message = turn()
    while uses := [block["toolUse"] for block in message["content"] if "toolUse" in block]:
        messages.append(message)
        results = [{"toolResult": {"toolUseId": u["toolUseId"], "content": [{"text": TOLD}]}} for u in uses]
        messages.append({"role": "user", "content": results})
        message = turn()
    return "".join(block.get("text", "") for block in message["content"])


def cohere(model, stream):
    import cohere as sdk_

    client = sdk_.ClientV2(api_key=key, base_url=base)
    tools = [{"type": "function", "function": {"name": "get_tide", "parameters": PORT}}]
    messages = [{"role": "user", "content": ASK}]

    def turn():
        asked = {"model": model, "messages": messages, "tools": tools}
        asked["thinking"] = {"type": "enabled", "token_budget": 2000}
        if not stream:
            message = client.chat(**asked).message
            text = "".join(b.text for b in message.content or [] if b.type == "text")
            calls = [(c.id, c.function.name, c.function.arguments) for c in message.tool_calls or []]
            return text, calls
        text, calls = "", []
        for event in client.chat_stream(**asked):
            if event.type == "content-delta" and event.delta.message.content.text:
                text += event.delta.message.content.text
            elif event.type == "tool-call-start":
                call = event.delta.message.tool_calls
                calls.append([call.id, call.function.name, call.function.arguments or ""])
            elif event.type == "tool-call-delta":
                calls[-1][2] += event.delta.message.tool_calls.function.arguments
        return text, calls

    while (turned := turn())[1]:
        text, calls = turned
        told = [{"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in calls]
        messages.append({"role": "assistant", "content": text, "tool_calls": told})
        messages.extend({"role": "tool", "tool_call_id": call["id"], "content": TOLD} for call in told)
    return turned[0]


for model in models:
    for stream in (False, True):
        try:
            print(json.dumps([model, stream, globals()[sdk.replace("-", "_")](model, stream)]))
        except Exception as error:  # noqa: BLE001
            print(json.dumps([model, stream, f"{type(error).__name__}: {error}"]))
