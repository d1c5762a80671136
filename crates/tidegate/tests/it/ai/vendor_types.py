"""Judges what the gateway writes in each dialect by the types of the vendors' own SDKs: requests to providers, answers
and streams to callers. Reads the golden files below the folder that is named, and prints a line for each part that the
types do not know, miss or have otherwise."""

import inspect
import json
import pathlib
import sys
import types
import typing

import anthropic.types.beta
import botocore.session
import botocore.validate
import cohere
import cohere.v2.client
import openai.types.chat
import openai.types.responses
import pydantic
import typing_extensions
from anthropic.types.beta import message_create_params as anthropic_request
from google.genai import types as gemini
from openai.types.chat import completion_create_params as chat_request
from openai.types.responses import response_create_params as responses_request

BEDROCK = botocore.session.get_session().get_service_model("bedrock-runtime")
CONVERSE = BEDROCK.operation_model("Converse")
CONVERSE_STREAM = BEDROCK.operation_model("ConverseStream").output_shape.members["stream"]


class Problem(str):
    """A place and what is wrong there; `depth` is how far into a value somebody came before."""

    depth = 0


def problem(place, text):
    found = Problem(f"{place or 'all'}: {text}")
    found.depth = place.count(".") + place.count("[")
    return found


def is_typed_dict(kind):
    return typing_extensions.is_typeddict(kind)


def unwrapped(kind):
    """A type without what only says something about it."""
    while True:
        origin = typing_extensions.get_origin(kind)
        if origin is typing.Annotated or origin in (
            typing_extensions.Required, typing_extensions.NotRequired, typing_extensions.ReadOnly,
        ):
            kind = typing_extensions.get_args(kind)[0]
        elif isinstance(kind, typing_extensions.TypeAliasType):
            kind = kind.__value__
        else:
            return kind


def fits(value, kind, place=""):
    """The problems of a value that should be of a type; of several alternatives those of the one that it came nearest to."""
    kind = unwrapped(kind)
    origin, arguments = typing_extensions.get_origin(kind), typing_extensions.get_args(kind)
    if kind in (typing.Any, object) or isinstance(kind, typing.TypeVar):
        return []
    if origin in (typing.Union, types.UnionType):
        best = None
        for one in arguments:
            found = fits(value, one, place)
            if not found:
                return []
            # Whoever knows its discriminator is meant.
            score = (not is_meant(value, one), -max(each.depth for each in found), len(found))
            if best is None or score < best[0]:
                best = (score, found)
        return best[1]
    if origin is typing.Literal:
        return [] if value in arguments else [problem(place, f"{value!r} is none of {arguments}")]
    if is_typed_dict(kind):
        hints = typing_extensions.get_type_hints(kind, include_extras=True)
        return fields(value, {key: (hint, key in kind.__required_keys__) for key, hint in hints.items()}, place, kind)
    if inspect.isclass(kind) and issubclass(kind, pydantic.BaseModel):
        known = {}
        for name, field in kind.model_fields.items():
            known[field.alias or name] = (field.annotation, field.is_required())
        return fields(value, known, place, kind)
    if kind is type(None):
        return [] if value is None else [problem(place, f"{value!r} is not null")]
    if origin in (dict, typing.Mapping) or kind is dict or str(origin).startswith("<class 'collections.abc.Mapping"):
        if not isinstance(value, dict):
            return [problem(place, f"{value!r} is no object")]
        inside = arguments[1] if len(arguments) == 2 else object
        return [one for key, each in value.items() for one in fits(each, inside, f"{place}.{key}")]
    if kind is list or origin is list or "Iterable" in str(kind) or "Sequence" in str(kind):
        if not isinstance(value, list):
            return [problem(place, f"{value!r} is no list")]
        inside = arguments[0] if arguments else object
        return [one for at, each in enumerate(value) for one in fits(each, inside, f"{place}[{at}]")]
    return plain(value, kind, place)


def plain(value, kind, place):
    if inspect.isclass(kind) and issubclass(kind, str):
        members = [one.value for one in kind] if hasattr(kind, "__members__") else None
        if not isinstance(value, str) or (members and value not in members):
            return [problem(place, f"{value!r} is no {kind.__name__}")]
        return []
    simple = {bool: bool, int: int, float: (int, float), bytes: str}
    if kind in simple:
        is_one = isinstance(value, simple[kind]) and (kind is bool or not isinstance(value, bool))
        return [] if is_one else [problem(place, f"{value!r} is no {kind.__name__}")]
    # Dates and files, which are texts on the wire.
    return []


def is_meant(value, kind):
    """Whether the words that tell alternatives apart are those of this one."""
    kind = unwrapped(kind)
    if not isinstance(value, dict):
        return False
    if is_typed_dict(kind):
        hints = typing_extensions.get_type_hints(kind, include_extras=True)
    elif inspect.isclass(kind) and issubclass(kind, pydantic.BaseModel):
        hints = {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
    else:
        return False
    words = {key: unwrapped(hint) for key, hint in hints.items() if key in ("type", "role", "object")}
    words = {key: hint for key, hint in words.items() if typing_extensions.get_origin(hint) is typing.Literal}
    return bool(words) and all(value.get(key) in typing_extensions.get_args(hint) for key, hint in words.items())


def fields(value, known, place, kind):
    if not isinstance(value, dict):
        return [problem(place, f"{value!r} is no {kind.__name__}")]
    found = [problem(place, f"`{key}` is missing in {kind.__name__}") for key, (_, must) in known.items() if must and key not in value]
    for key, each in value.items():
        at = f"{place}.{key}" if place else key
        if key not in known:
            found.append(problem(at, f"{kind.__name__} has no such field"))
        else:
            found.extend(fits(each, known[key][0], at))
    return found


def shaped(value, shape):
    """The problems of a value by a shape of botocore's, which its clients check before they send."""
    report = botocore.validate.ParamValidator().validate(value, shape)
    text = report.generate_report()
    unknown = [problem(place, "the shape has no such member") for place in unknown_members(value, shape)]
    return [problem("", line) for line in text.splitlines()] + unknown


def unknown_members(value, shape, place=""):
    if shape.type_name == "structure" and isinstance(value, dict) and not getattr(shape, "is_document_type", False):
        for key, each in value.items():
            at = f"{place}.{key}" if place else key
            if key not in shape.members:
                yield at
            else:
                yield from unknown_members(each, shape.members[key], at)
    elif shape.type_name == "list" and isinstance(value, list):
        for at, each in enumerate(value):
            yield from unknown_members(each, shape.member, f"{place}[{at}]")
    elif shape.type_name == "map" and isinstance(value, dict):
        for key, each in value.items():
            yield from unknown_members(each, shape.value, f"{place}.{key}")


class GeminiRequest(pydantic.BaseModel):
    """The body of `generateContent`, of which the SDK has the parts alone."""

    contents: list[gemini.Content]
    systemInstruction: typing.Optional[gemini.Content] = None
    tools: typing.Optional[list[gemini.Tool]] = None
    toolConfig: typing.Optional[gemini.ToolConfig] = None
    safetySettings: typing.Optional[list[gemini.SafetySetting]] = None
    generationConfig: typing.Optional[gemini.GenerationConfig] = None
    cachedContent: typing.Optional[str] = None
    labels: typing.Optional[dict[str, str]] = None
    serviceTier: typing.Optional[str] = None


def cohere_request(body):
    hints = typing.get_type_hints(cohere.v2.client.V2Client.chat, include_extras=True)
    known = {key: (hint, key in ("model", "messages")) for key, hint in hints.items() if key not in ("return", "request_options")}
    known["stream"] = (bool, False)
    class Body: pass
    return fields(body, known, "", Body)


REQUESTS = {
    "openai-chat": lambda body: fits(body, chat_request.CompletionCreateParams),
    "openai-responses": lambda body: fits(body, responses_request.ResponseCreateParams),
    "anthropic": lambda body: fits(body, anthropic_request.MessageCreateParams),
    "gemini": lambda body: fits(body, GeminiRequest),
    "bedrock": lambda body: shaped({"modelId": "m", **body}, CONVERSE.input_shape),
    "cohere": cohere_request,
}
ANSWERS = {
    "openai-chat": lambda body: fits(body, openai.types.chat.ChatCompletion),
    "openai-responses": lambda body: fits(body, openai.types.responses.Response),
    "anthropic": lambda body: fits(body, anthropic.types.beta.BetaMessage),
    "gemini": lambda body: fits(body, gemini.GenerateContentResponse),
    "bedrock": lambda body: shaped(body, CONVERSE.output_shape),
    "cohere": lambda body: fits(body, cohere.V2ChatResponse),
}
PIECES = {
    "openai-chat": lambda body: fits(body, openai.types.chat.ChatCompletionChunk),
    "openai-responses": lambda body: fits(body, openai.types.responses.ResponseStreamEvent),
    "anthropic": lambda body: fits(body, anthropic.types.beta.BetaRawMessageStreamEvent),
    "gemini": lambda body: fits(body, gemini.GenerateContentResponse),
    "bedrock": lambda body: shaped(body, CONVERSE_STREAM),
    "cohere": lambda body: fits(body, cohere.V2ChatStreamResponse),
}


def sections(path):
    """The dialects of a golden file, and what is written in each."""
    name, lines = None, []
    for line in [*path.read_text().splitlines(), "== end =="]:
        if line.startswith("== ") and line.endswith(" =="):
            if name:
                yield name, "\n".join(lines)
            name, lines = line[3:-3], []
        else:
            lines.append(line)


def pieces(dialect, text):
    """The events of a stream."""
    for line in text.splitlines():
        if dialect == "bedrock":
            name, _, data = line.partition(" ")
            if data.startswith("{"):
                yield {name: json.loads(data)}
        elif line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


def judged(folder):
    for kind, judges in (("requests", REQUESTS), ("answers", ANSWERS), ("streams", PIECES)):
        for path in sorted((folder / kind).glob("*/*.txt")):
            for dialect, text in sections(path):
                if kind == "streams":
                    bodies = list(pieces(dialect, text))
                else:
                    try:
                        body = json.loads(text)
                    except ValueError:
                        if text.lstrip().startswith("{"):
                            raise SystemExit(f"{path}: what is written in {dialect} is no JSON")
                        # A refusal: the dialect cannot say it.
                        continue
                    bodies = [body["body"] if kind == "requests" else body]
                yield f"{kind}/{path.parent.name}/{path.stem} -> {dialect}", bodies, judges[dialect]


def main():
    count = 0
    for name, bodies, judge in judged(pathlib.Path(sys.argv[1])):
        for at, body in enumerate(bodies):
            count += 1
            for found in judge(body):
                place = f"{name} {at}" if name.startswith("streams") else name
                print(f"{place}: {str(found)[:300]}")
    print(f"judged {count}", file=sys.stderr)


if __name__ == "__main__":
    main()
