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

    def listen(case, *parts, **more):
        messages = [{"role": "user", "content": [{"type": "text", "text": ask(case)}, *parts]}]
        more["stream_options"] = {"include_usage": True}
        with client.chat.completions.stream(model=model, messages=messages, **more) as stream:
            return stream.get_final_completion()

    def streamed_custom(case):
        messages = [{"role": "user", "content": ask(case)}]
        note = [{"type": "custom", "custom": {"name": "note", "description": "Writes it down."}}]
        kind, name, text = "", "", ""
        for chunk in client.chat.completions.create(model=model, messages=messages, tools=note, stream=True):
            for call in [call for choice in chunk.choices for call in choice.delta.tool_calls or []]:
                kind = call.type or kind
                piece = call.model_dump().get("custom") or {}
                name, text = name + (piece.get("name") or ""), text + (piece.get("input") or "")
        return [kind, name, text]

    def tokens(choice):
        told = choice.logprobs.content if choice.logprobs else None
        return [[one.token, one.logprob, [other.token for other in one.top_logprobs]] for one in told or []]

    def titles(message):
        return [message.content, [one.url_citation.title for one in message.annotations or []]]

    def whole(case, **more):
        return client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": ask(case)}], **more
        ).choices[0]

    def cached(case):
        usage = listen(case).usage
        return [usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens]

    def refusal(choice):
        return [choice.message.refusal or choice.message.content, choice.finish_reason]

    def streamed_refusal(case):
        messages, said, reason = [{"role": "user", "content": ask(case)}], "", None
        for chunk in client.chat.completions.create(model=model, messages=messages, stream=True):
            for choice in chunk.choices:
                said += choice.delta.refusal or choice.delta.content or ""
                reason = choice.finish_reason or reason
        return [said, reason]

    likely = dict(logprobs=True, top_logprobs=2)
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
        "streamed-document": lambda case: listen(case, file).choices[0].message.content,
        "streamed-audio": lambda case: listen(case, sound).choices[0].message.content,
        "streamed-custom": streamed_custom,
        "streamed-cached": cached,
        "probabilities": lambda case: tokens(whole(case, **likely)),
        "streamed-probabilities": lambda case: tokens(listen(case, **likely).choices[0]),
        "cited": lambda case: titles(whole(case).message),
        "streamed-cited": lambda case: titles(listen(case).choices[0].message),
        "refused": lambda case: refusal(whole(case)),
        "streamed-refused": streamed_refusal,
        "labels": lambda case: whole(case, metadata={"trip": "7"}).message.content,
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

    def listen(case, *parts, **more):
        asked = [{"role": "user", "content": [{"type": "input_text", "text": ask(case)}, *parts]}]
        with client.responses.stream(model=model, input=asked, **more) as stream:
            return stream.get_final_response()

    def tokens(answer):
        told = answer.output[0].content[0].logprobs
        return [[one.token, one.logprob, [other.token for other in one.top_logprobs or []]] for one in told or []]

    def titles(answer):
        content = [one for item in answer.output for one in item.content]
        return ["".join(one.text for one in content), [note.title for one in content for note in one.annotations]]

    def refusal(answer):
        content = answer.output[0].content[0]
        return [content.refusal if content.type == "refusal" else content.text, content.type, answer.status]

    def streamed_refusal(case):
        events = list(say(case, stream=True))
        return refusal(events[-1].response)

    def noted(answer):
        return [answer.output[0].type.removesuffix("_tool_call"), answer.output[0].name, answer.output[0].input]

    def cached(case):
        usage = listen(case).usage
        return [usage.input_tokens, usage.input_tokens_details.cached_tokens]

    note = [{"type": "custom", "name": "note", "description": "Writes it down."}]
    likely = dict(include=["message.output_text.logprobs"], top_logprobs=2)
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
        "streamed-document": lambda case: listen(case, file).output_text,
        "streamed-custom": lambda case: noted(listen(case, tools=note)),
        "streamed-cached": cached,
        "probabilities": lambda case: tokens(say(case, **likely)),
        "streamed-probabilities": lambda case: tokens(listen(case, **likely)),
        "cited": lambda case: titles(say(case)),
        "streamed-cited": lambda case: titles(listen(case)),
        "refused": lambda case: refusal(say(case)),
        "streamed-refused": streamed_refusal,
        "labels": lambda case: say(case, metadata={"trip": "7"}).output_text,
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

    def listen(case, *parts):
        messages = [{"role": "user", "content": [{"type": "text", "text": ask(case)}, *parts]}]
        with client.messages.stream(model=model, max_tokens=200, messages=messages) as stream:
            return stream.get_final_message()

    def titles(message):
        text = "".join(block.text for block in message.content)
        cited = [one for block in message.content for one in block.citations or []]
        return [text, [getattr(one, "title", None) or getattr(one, "document_title", None) for one in cited]]

    def refusal(message):
        return ["".join(block.text for block in message.content), message.stop_reason]

    def cached(case):
        usage = listen(case).usage
        return [usage.input_tokens + usage.cache_read_input_tokens, usage.cache_read_input_tokens]

    marked = [{"type": "text", "text": "Be terse.", "cache_control": {"type": "ephemeral"}}]
    knobs = dict(stop_sequences=["END"], metadata={"user_id": "u-1"})
    document = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    citable = {**document, "title": "Tides", "citations": {"enabled": True}}
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
        "citable": lambda case: say(case, citable).content[0].text,
        "streamed-document": lambda case: listen(case, document).content[0].text,
        "streamed-cached": cached,
        "cited": lambda case: titles(say(case)),
        "streamed-cited": lambda case: titles(listen(case)),
        "refused": lambda case: refusal(say(case)),
        "streamed-refused": lambda case: refusal(listen(case)),
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

    def listen(contents, **more):
        config = types.GenerateContentConfig(**more)
        return list(client.models.generate_content_stream(model=model, contents=contents, config=config))

    def words(chunks):
        parts = [part for chunk in chunks for one in chunk.candidates or [] for part in (one.content or none).parts or []]
        return "".join(part.text or "" for part in parts)

    def tokens(chunks):
        told = [one.logprobs_result for chunk in chunks for one in chunk.candidates or [] if one.logprobs_result]
        chosen = [one for result in told for one in result.chosen_candidates or []]
        others = [[one.token for one in top.candidates or []] for result in told for top in result.top_candidates or []]
        others += [[]] * (len(chosen) - len(others))
        return [
            [one.token, one.log_probability, [token for token in other if token != one.token]]
            for one, other in zip(chosen, others)
        ]

    def titles(chunks):
        told = [one.grounding_metadata for chunk in chunks for one in chunk.candidates or [] if one.grounding_metadata]
        sources = [one.web or one.retrieved_context for result in told for one in result.grounding_chunks or []]
        return [words(chunks), [source.title for source in sources]]

    def refusal(chunks):
        reasons = [one.finish_reason for chunk in chunks for one in chunk.candidates or [] if one.finish_reason]
        return [words(chunks), reasons[-1].name]

    def cached(case):
        usage = [chunk.usage_metadata for chunk in listen([ask(case)]) if chunk.usage_metadata][-1]
        return [usage.prompt_token_count, usage.cached_content_token_count]

    none = types.Content(parts=[])
    likely = dict(response_logprobs=True, logprobs=2)
    pdf, wav = bytes_of(PDF, "application/pdf"), bytes_of(SOUND, "audio/wav")
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
        "streamed-document": lambda case: words(listen([ask(case), pdf])),
        "streamed-audio": lambda case: words(listen([ask(case), wav])),
        "streamed-cached": cached,
        "probabilities": lambda case: tokens([say([ask(case)], **likely)]),
        "streamed-probabilities": lambda case: tokens(listen([ask(case)], **likely)),
        "cited": lambda case: titles([say([ask(case)])]),
        "streamed-cited": lambda case: titles(listen([ask(case)])),
        "refused": lambda case: refusal([say([ask(case)])]),
        "streamed-refused": lambda case: refusal(listen([ask(case)])),
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

    def listen(case, *parts):
        messages = [{"role": "user", "content": [{"text": ask(case)}, *parts]}]
        return list(client.converse_stream(modelId=model, messages=messages)["stream"])

    def deltas(events):
        return [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]

    def words(events):
        return "".join(delta.get("text", "") for delta in deltas(events))

    def titles(message):
        cited = [block["citationsContent"] for block in message["content"] if "citationsContent" in block]
        said = text(message) + "".join(one["text"] for block in cited for one in block["content"])
        return [said, [one.get("title") for block in cited for one in block["citations"]]]

    def streamed_titles(events):
        return [words(events), [delta["citation"].get("title") for delta in deltas(events) if "citation" in delta]]

    def refusal(case):
        messages = [{"role": "user", "content": [{"text": ask(case)}]}]
        told = client.converse(modelId=model, messages=messages)
        return [text(told["output"]["message"]), told["stopReason"]]

    def streamed_refusal(events):
        return [words(events), [one["messageStop"]["stopReason"] for one in events if "messageStop" in one][0]]

    def cached(events):
        usage = [event["metadata"]["usage"] for event in events if "metadata" in event][-1]
        return [usage["inputTokens"] + usage["cacheReadInputTokens"], usage["cacheReadInputTokens"]]

    knobs = {"stopSequences": ["END"], "topP": 0.5}
    document = {"document": {"format": "pdf", "name": "tides", "source": {"bytes": base64.b64decode(PDF)}}}
    citable = {"document": {**document["document"], "citations": {"enabled": True}}}
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
        "citable": lambda case: text(say(case, citable)),
        "streamed-document": lambda case: words(listen(case, document)),
        "streamed-audio": lambda case: words(listen(case, sound)),
        "streamed-cached": lambda case: cached(listen(case)),
        "cited": lambda case: titles(say(case)),
        "streamed-cited": lambda case: streamed_titles(listen(case)),
        "refused": refusal,
        "streamed-refused": lambda case: streamed_refusal(listen(case)),
        "labels": lambda case: text(say(case, requestMetadata={"trip": "7"})),
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

    def listen(case, **more):
        return list(client.chat_stream(model=model, messages=[user(case)], **more))

    def words(events):
        return "".join(event.delta.message.content.text for event in events if event.type == "content-delta")

    def tokens(told):
        return [[one.text, one.logprobs[0], []] for one in told or []]

    def likely(case):
        told = client.chat(model=model, messages=[user(case)], logprobs=True, request_options={"max_retries": 0})
        return tokens(told.logprobs)

    def titles_of(citations):
        sources = [source for one in citations or [] for source in one.sources or []]
        return [(source.document or {}).get("title") for source in sources if source.type == "document"]

    def titles(message):
        return [text(message), titles_of(message.citations)]

    def streamed_titles(events):
        cited = [event.delta.message.citations for event in events if event.type == "citation-start"]
        return [words(events), titles_of(cited)]

    def refusal(case):
        told = client.chat(model=model, messages=[user(case)], request_options={"max_retries": 0})
        return [text(told.message), told.finish_reason]

    def streamed_refusal(events):
        return [words(events), [event.delta.finish_reason for event in events if event.type == "message-end"][0]]

    def cached(events):
        usage = [event.delta.usage for event in events if event.type == "message-end"][0]
        return [int(usage.tokens.input_tokens), int(usage.cached_tokens or 0)]

    knobs = dict(stop_sequences=["END"], seed=7, frequency_penalty=0.5, presence_penalty=0.25)
    return {
        "json": lambda case: json.loads(text(say([user(case)], response_format={"type": "json_object"}))),
        "knobs": lambda case: text(say([user(case)], **knobs)),
        "streamed": streamed,
        "forced": lambda case: made(say([user(case)], tools=tools[1:], tool_choice="REQUIRED"))[0][0],
        "parse": parse,
        "calls": calls,
        "streamed-cached": lambda case: cached(listen(case)),
        "probabilities": likely,
        "streamed-probabilities": lambda case: tokens(
            [event.logprobs for event in listen(case, logprobs=True) if getattr(event, "logprobs", None)]
        ),
        "cited": lambda case: titles(say([user(case)])),
        "streamed-cited": lambda case: streamed_titles(listen(case)),
        "refused": refusal,
        "streamed-refused": lambda case: streamed_refusal(listen(case)),
    }


for model in models:
    for case, call in globals()[sdk.replace("-", "_")](model).items():
        try:
            print(json.dumps([model, case, call(case)]))
        except Exception as error:  # noqa: BLE001: the test judges it
            print(json.dumps([model, case, f"{type(error).__name__}: {error}"]))
