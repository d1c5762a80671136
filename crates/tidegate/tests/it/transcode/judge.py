"""Protobuf's mapping of JSON as Google's own implementation has it: the server behind the gateway and the client before it.

What the gateway made of each text and of each message is written to a file, with what `json_format` makes of it; a second judge
(clients of JavaScript's) reads it."""

import base64
import http.client
import json
import math
import random
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError

gateway, port, path, out = sys.argv[1:]
descriptors = descriptor_pb2.FileDescriptorSet.FromString(open(path, "rb").read())
pool = descriptor_pool.DescriptorPool()
for file in descriptors.file:
    pool.Add(file)
kind = lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
Everything = kind("demo.Everything")

# What the server saw, and what it is to answer instead of that.
seen, wanted = [], []


def echo(request, context):
    seen.append(request)
    return wanted.pop() if wanted else request


server = grpc.server(ThreadPoolExecutor(2))
server.add_generic_rpc_handlers(
    [grpc.method_handlers_generic_handler("demo.Library", {"Echo": grpc.unary_unary_rpc_method_handler(echo)})]
)
assert server.add_insecure_port(f"127.0.0.1:{port}")
server.start()
connection = http.client.HTTPConnection(gateway)


def ask(text):
    connection.request("POST", "/v1/echo", text.encode("utf-8", "surrogatepass"), {"content-type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def told(message):
    """What a message says, without the order of its maps and the bits of what is no number."""
    return json.dumps(json_format.MessageToDict(message, descriptor_pool=pool), sort_keys=True)


def parsed(text):
    try:
        message = Everything()
        json_format.Parse(text, message, descriptor_pool=pool)
        return message
    except (json_format.ParseError, ValueError, RecursionError, TypeError, OverflowError):
        return None


def b64(data):
    return None if data is None else base64.b64encode(data).decode()


rows = []


def down(text):
    """A client's text becomes a message."""
    seen.clear()
    status, body = ask(text)
    theirs = parsed(text)
    ours = Everything.FromString(seen[0]) if seen else None
    agrees = (ours is None) == (theirs is None) and (ours is None or told(ours) == told(theirs))
    rows.append({
        "side": "down", "text": text, "status": status, "message": b64(seen[0] if seen else None), "agrees": agrees,
        "is_good": theirs is not None, "body": body.decode("utf-8", "replace")[:300],
        "theirs": b64(theirs.SerializeToString()) if theirs is not None else None,
    })


def up(data, note=""):
    """A server's message becomes a text."""
    wanted.append(data)
    status, body = ask("{}")
    text = body.decode()
    message = Everything.FromString(data)
    try:
        theirs = json_format.MessageToDict(message, descriptor_pool=pool)
        # There is none of a message that no text becomes.
        json_format.ParseDict(theirs, Everything(), descriptor_pool=pool)
    except (json_format.Error, DecodeError, ValueError, TypeError, OverflowError):
        theirs = None
    if status == 200 and theirs is not None:
        agrees = json.loads(text) == theirs and told(parsed(text)) == told(message)
    else:
        agrees = (status == 200) == (theirs is not None)
    rows.append({
        "side": "up", "message": b64(data), "status": status, "text": text, "agrees": agrees, "note": note,
        "is_good": theirs is not None, "theirs": json.dumps(theirs)[:3000],
    })


# Texts: each kind of value as it may be written, and as it may not.
INT32 = ["0", "-0", "1", "-1", "1.0", "1e2", "1.5", "1e-1", "100e-2", "2147483647", "2147483648", "-2147483648", "-2147483649",
         '"7"', '"-7"', '"7.0"', '"1e2"', '"2147483648"', '""', '" 7"', '"7 "', '"0x7"', '"+7"', '"a"', "true", "[]", "{}", "null", "1E1000"]
INT64 = INT32 + ["9007199254740993", '"9007199254740993"', "9223372036854775807", "9223372036854775808", "-9223372036854775808",
                 '"9223372036854775807"', '"9223372036854775808"', '"-9223372036854775809"', "1e18", "1e19"]
UINT = ["0", "4294967295", "4294967296", "-1", '"4294967295"', '"-1"', "-0", "1.0", "0.5", "null", "18446744073709551615",
        '"18446744073709551615"', "18446744073709551616", '"18446744073709551616"']
FLOAT = ["0", "-0.0", "1", "1.5", "-1e-7", "1e38", "3.5e38", "-3.5e38", "1e-50", "1e308", "1e309", "-1e400", '"NaN"', '"Infinity"',
         '"-Infinity"', '"nan"', '"inf"', '"+Infinity"', '"1.5"', '"1e3"', '""', '" 1"', '"a"', "true", "null", "NaN", "Infinity",
         "0.1", "16777217", "3.4028234663852886e38", "3.4028235677973366e38", "1.7976931348623157e308"]
BOOL = ["true", "false", "null", '"true"', "1", "0", '""']
STRING = ['"a"', '""', '"\\u0000"', '"\\ud83d\\ude00"', '"\\ud800"', '"\\udc00\\ud800"', '"\u2028"', '"\\/"', '"\\q"', "1", "true", "null", "[]",
          '"a\nb"', '"\t"', '"\x7f"']
BYTES = ['""', '"AAH/"', '"AAH_"', '"-_-_"', '"+/+/"', '"AQ=="', '"AQ"', '"AQ="', '"A"', '"AB=="', '"A Q="', '"!!"', "1", "null", '"AQID\\n"']
ENUM = ['"NOVEL"', '"ATLAS"', "1", "2", "99", "-1", '"NOPE"', '"novel"', '"1"', "1.0", "1.5", "null", "true", '""', "2147483648"]
TIME = ['"1970-01-01T00:00:00Z"', '"2026-11-30T12:34:56.789Z"', '"2026-11-30T12:34:56.123456789Z"', '"2026-11-30T12:34:56.1234567890Z"',
        '"2026-11-30T12:34:56+05:30"', '"2026-11-30T12:34:56.5-00:00"', '"2026-11-30T12:34:56"', '"2026-11-30t12:34:56z"',
        '"2026-11-30 12:34:56Z"', '"0001-01-01T00:00:00Z"', '"9999-12-31T23:59:59.999999999Z"', '"0000-12-31T23:59:59Z"',
        '"10000-01-01T00:00:00Z"', '"2024-02-29T00:00:00Z"', '"2025-02-29T00:00:00Z"', '"2026-13-01T00:00:00Z"', '"2026-01-01T24:00:00Z"',
        '"2026-01-01T23:59:60Z"', '"1969-12-31T23:59:59.5Z"', '"2026-01-01T00:00:00.Z"', '"2026-01-01T00:00:00.000Z"', '""', "0", "null",
        '"2026-1-1T00:00:00Z"', '"0001-01-01T00:00:00+01:00"', '"9999-12-31T23:59:59-01:00"', '"2026-01-01T00:00:00+24:00"', "{}"]
SPAN = ['"0s"', '"1s"', '"1.5s"', '"-1.5s"', '"-0.5s"', '"1.000000001s"', '"1.0000000001s"', '"315576000000s"', '"315576000001s"',
        '"-315576000000s"', '"-315576000001s"', '"315576000000.999999999s"', '"1"', '"s"', '"1.s"', '".5s"', '"1e3s"', '"+1s"', '" 1s"',
        '"1 s"', '"1m"', '"1.5S"', "1", "null", '""', '"-0s"', '"--1s"', '"1.-5s"', "{}"]
MASK = ['""', '"a"', '"givenName"', '"a.bC,dE"', '"given_name"', '"a,"', '",a"', '"a,,b"', '"a.b.c"', '"A"', '"aB1"', '"a b"', "1", "null", '"a1b"', "{}"]
STRUCT = ["{}", '{"a": null}', '{"a": [1, "b", true, null, {"c": []}]}', '{"": 1}', '{"a": 1, "a": 2}', "[]", "null", "1", '{"a": 1e309}',
          '{"fields": {"a": 1}}']
VALUE = ["null", "1", "-1.5e3", '"a"', "true", "[]", "{}", "[null]", '{"a": {"b": [1]}}', '"NaN"', "1e309", "12345678901234567890"]
LIST = ["[]", "[1]", "[null]", '[[], {}, "a"]', "{}", "null", "1"]
ANY = ["{}", '{"@type": "type.googleapis.com/demo.Author", "givenName": "C"}', '{"givenName": "C", "@type": "type.googleapis.com/demo.Author"}',
       '{"@type": "type.googleapis.com/demo.Author"}', '{"@type": "demo.Author", "givenName": "C"}', '{"@type": "a.test/x/demo.Author"}',
       '{"@type": "/demo.Author"}',
       '{"@type": "type.googleapis.com/demo.Nobody"}', '{"@type": ""}', '{"@type": 1}', '{"givenName": "C"}', "null", "[]", "1",
       '{"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1.5s"}',
       '{"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1.5"}',
       '{"@type": "type.googleapis.com/google.protobuf.Duration"}',
       '{"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1s", "more": 1}',
       '{"@type": "type.googleapis.com/google.protobuf.Timestamp", "value": "2026-01-01T00:00:00Z"}',
       '{"@type": "type.googleapis.com/google.protobuf.FieldMask", "value": "a.bC"}',
       '{"@type": "type.googleapis.com/google.protobuf.Struct", "value": {"a": [1, null]}}',
       '{"@type": "type.googleapis.com/google.protobuf.Value", "value": null}',
       '{"@type": "type.googleapis.com/google.protobuf.ListValue", "value": [1]}',
       '{"@type": "type.googleapis.com/google.protobuf.Int64Value", "value": "7"}',
       '{"@type": "type.googleapis.com/google.protobuf.Int64Value", "value": 7}',
       '{"@type": "type.googleapis.com/google.protobuf.BytesValue", "value": "AQ=="}',
       '{"@type": "type.googleapis.com/google.protobuf.Any", "value": {"@type": "type.googleapis.com/demo.Author", "familyName": "D"}}',
       '{"@type": "type.googleapis.com/google.protobuf.Any", "value": {}}',
       '{"@type": "type.googleapis.com/demo.Everything", "any": {"@type": "type.googleapis.com/demo.Author"}, "int64Value": "1"}',
       '{"@type": "type.googleapis.com/demo.Author", "@type": "type.googleapis.com/demo.Author"}',
       '{"@type": "type.googleapis.com/demo.Author", "nobody": 1}']
MESSAGE = ["{}", "null", "[]", '"a"', '{"givenName": "C"}', '{"given_name": "C"}', '{"givenName": "C", "given_name": "D"}',
           '{"GivenName": "C"}', '{"givenName": null}', '{"nobody": 1}', '{"nobody": null}', '{"givenName": "C", "givenName": "D"}']
FIELDS = {
    "int32Value": INT32, "sint32Value": INT32, "sfixed32Value": INT32, "int64Value": INT64, "sint64Value": INT64, "sfixed64Value": INT64,
    "uint32Value": UINT, "fixed32Value": UINT, "uint64Value": UINT, "fixed64Value": UINT, "doubleValue": FLOAT, "floatValue": FLOAT,
    "boolValue": BOOL, "stringValue": STRING, "bytesValue": BYTES, "enumValue": ENUM, "messageValue": MESSAGE, "timestamp": TIME,
    "duration": SPAN, "mask": MASK, "struct": STRUCT, "value": VALUE, "list": LIST, "any": ANY, "wrappedInt": INT64,
    "wrappedText": STRING, "wrappedBool": BOOL, "wrappedBytes": BYTES, "wrappedDouble": FLOAT, "maybe": INT32, "text": STRING,
    "numbers": ["[]", "null", '[1, "2"]', "[null]", "[[]]", "{}", "1", '["a"]', "[9223372036854775808]"],
    "counts": ["{}", "null", '{"a": 1, "": "2"}', '{"a": null}', '{"a": 1, "a": 2}', "[]", '{"a": "x"}'],
    "authors": ["{}", '{"1": {}}', '{"-1": {"givenName": "C"}}', '{"2147483648": {}}', '{"a": {}}', '{"01": {}}', '{"1": null}', '{" 1": {}}',
                '{"1": {}, "1": {}}', '{"1.0": {}}'],
    "otherName": STRING[:3], "named_otherwise": STRING[:3], "namedOtherwise": STRING[:3],
    "int32_value": ["7"], "within": ['{"within": {"within": {"int32Value": 7}}}', "null", "{}"],
}
WHOLE = ["{}", "", " ", "null", "[]", "1", '"a"', "{", "{}{}", "{} x", "{,}", '{"text": "a", "number": 1}', '{"text": "a", "number": null}',
         '{"number": null, "text": "a"}', '{"text": null, "number": null}', '{"int32Value": 1, "int32_value": 2}', '{"int32Value": 1, "int32Value": 1}',
         '{"int32Value": null, "int32_value": 2}', '{"int32Value": 1,}', "{'int32Value': 1}", '{"int32Value": 01}', '{"int32Value": 1} // no', '\ufeff{}',
         '{"nobody": 1}', '{"maybe": 0}', '{"wrappedInt": 0}', '{"wrappedText": ""}', '{"wrappedDouble": "NaN"}', '{"value": null}',
         '{"@type": "type.googleapis.com/demo.Everything"}', '{"text": "", "maybe": 0, "wrappedBool": false, "messageValue": {}}',
         '{"within": ' * 60 + "{}" + "}" * 60, '{"value": ' + "[" * 60 + "]" * 60 + "}"]

for name, values in FIELDS.items():
    for value in values:
        down(f'{{"{name}": {value}}}')
for text in WHOLE:
    down(text)

# Messages at random, both ways.
dice = random.Random(20261130)
TEXTS = ["", "a", "gr\u00fc\u00dfe", "\u0000\u001f\u007f\u0080", '"\\/\b\f\n\r\t', "\u2028\u2029", "\U0001f600", "<script>&'", "\ufeff\uffff", "null"]


def number(bits, signed):
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return dice.choice([low, high, 0, 1, low + 1, high - 1, dice.randint(low, high), min(high, 1 << 53) + 1 if bits == 64 else 7])


def floating(single):
    value = dice.choice([0.0, 1.0, 0.1, -1e-7, 1e21, 1e22, 123456789.125, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan,
                         dice.uniform(-1e6, 1e6), struct.unpack("<d", dice.randbytes(8))[0]])
    return struct.unpack("<f", struct.pack("<I", dice.getrandbits(32)))[0] if single else value


def finite():
    return dice.choice([0, -0.0, 1, 1.5, -3e300, 1e21, 0.1, dice.uniform(-1e9, 1e9)])


def grown(depth):
    return dice.choice([None, True, False, finite(), dice.choice(TEXTS)] + ([
        [grown(depth - 1) for _ in range(dice.randrange(3))], {dice.choice(TEXTS): grown(depth - 1) for _ in range(dice.randrange(3))},
    ] if depth else []))


def scalar(field):
    cpp, name = field.cpp_type, field.name
    if cpp == field.CPPTYPE_STRING:
        return dice.randbytes(dice.randrange(5)) if field.type == field.TYPE_BYTES else dice.choice(TEXTS)
    if cpp == field.CPPTYPE_BOOL:
        return dice.random() < 0.5
    if cpp == field.CPPTYPE_ENUM:
        return dice.choice([0, 1, 2, 99, -1, 2147483647])
    if cpp in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
        return floating(cpp == field.CPPTYPE_FLOAT)
    return number(64 if cpp in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64) else 32, cpp in (field.CPPTYPE_INT32, field.CPPTYPE_INT64))


def fill(message, depth):
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Timestamp":
        message.seconds = dice.choice([-62135596800, 253402300799, 0, -1, dice.randint(-62135596800, 253402300799)])
        message.nanos = dice.choice([0, 1, 999999999, 500000000, 123000, 120000000])
    elif name == "google.protobuf.Duration":
        sign = dice.choice([1, -1])
        message.seconds = sign * dice.choice([0, 1, 315575999999, dice.randrange(10**9)])
        message.nanos = sign * dice.choice([0, 1, 999999999, 500000000, 123000])
    elif name == "google.protobuf.FieldMask":
        message.paths.extend(dice.sample(["a", "b_c", "d.e_f_g", "h1", "i_j.k_l"], dice.randrange(4)))
    elif name == "google.protobuf.Struct":
        json_format.ParseDict({dice.choice(TEXTS): grown(2) for _ in range(dice.randrange(4))}, message)
    elif name == "google.protobuf.ListValue":
        json_format.ParseDict([grown(2) for _ in range(dice.randrange(4))], message)
    elif name == "google.protobuf.Value":
        json_format.ParseDict(grown(2), message)
    elif name == "google.protobuf.Any":
        inner = kind(dice.choice(["demo.Author", "demo.Everything", "demo.Filter", "google.protobuf.Duration", "google.protobuf.Timestamp",
                                  "google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.Int64Value", "google.protobuf.FieldMask",
                                  "google.protobuf.BytesValue", "google.protobuf.DoubleValue"]))()
        fill(inner, depth - 1)
        message.type_url, message.value = "type.googleapis.com/" + inner.DESCRIPTOR.full_name, inner.SerializeToString()
    else:
        for field in message.DESCRIPTOR.fields:
            if dice.random() < (0.8 if name.endswith("Value") else 0.4):
                one(message, field, depth)
    return message


def one(message, field, depth):
    inner = field.message_type
    if inner and inner.GetOptions().map_entry:
        key, value = inner.fields_by_name["key"], inner.fields_by_name["value"]
        for _ in range(dice.randrange(3)):
            if value.message_type:
                fill(getattr(message, field.name)[scalar(key)], depth - 1)
            else:
                getattr(message, field.name)[scalar(key)] = scalar(value)
    elif inner and depth <= 0 and inner.full_name in ("demo.Everything", "google.protobuf.Any"):
        pass
    elif inner:
        if field.is_repeated:
            fill(getattr(message, field.name).add(), depth - 1)
        else:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), depth - 1)
    elif field.is_repeated:
        getattr(message, field.name).extend(scalar(field) for _ in range(dice.randrange(3)))
    else:
        setattr(message, field.name, scalar(field))


for _ in range(150):
    message = fill(Everything(), 2)
    try:
        text = json_format.MessageToJson(message, indent=None, descriptor_pool=pool)
    except (json_format.Error, ValueError):
        continue
    up(message.SerializeToString())
    down(text)
    down(json_format.MessageToJson(message, preserving_proto_field_name=True, ensure_ascii=False, descriptor_pool=pool))

# Messages of which there is no text, or an odd one.
for note, build in {
    "a time before the first year": lambda m: setattr(m.timestamp, "seconds", -62135596801),
    "a time after the last year": lambda m: setattr(m.timestamp, "seconds", 253402300800),
    "nanos below zero": lambda m: setattr(m.timestamp, "nanos", -1),
    "nanos of a second": lambda m: setattr(m.timestamp, "nanos", 1000000000),
    "a span too long": lambda m: setattr(m.duration, "seconds", 315576000001),
    "signs that differ": lambda m: (setattr(m.duration, "seconds", 1), setattr(m.duration, "nanos", -1)),
    "nanos of a second in a span": lambda m: setattr(m.duration, "nanos", 1000000000),
    "a mask with a capital": lambda m: m.mask.paths.append("aB"),
    "a mask with two lines": lambda m: m.mask.paths.append("a__b"),
    "a mask with a line before a number": lambda m: m.mask.paths.append("a_1"),
    "an empty path": lambda m: m.mask.paths.append(""),
    "a value of no kind": lambda m: m.value.SetInParent(),
    "a value that is no number": lambda m: setattr(m.value, "number_value", math.nan),
    "a value without end": lambda m: setattr(m.list.values.add(), "number_value", math.inf),
    "a struct with a value of no kind": lambda m: m.struct.fields["a"].SetInParent(),
    "an Any of nothing": lambda m: m.any.SetInParent(),
    "an Any of an unknown type": lambda m: setattr(m.any, "type_url", "type.googleapis.com/demo.Nobody"),
    "an Any without a slash": lambda m: setattr(m.any, "type_url", "demo.Author"),
    "an Any that is broken": lambda m: (setattr(m.any, "type_url", "type.googleapis.com/demo.Author"), setattr(m.any, "value", b"\xff")),
    "an empty wrapper": lambda m: (m.wrapped_int.SetInParent(), m.wrapped_text.SetInParent(), m.wrapped_double.SetInParent()),
    "empty ones": lambda m: (m.struct.SetInParent(), m.list.SetInParent(), m.mask.SetInParent(), m.duration.SetInParent(), m.timestamp.SetInParent()),
}.items():
    message = Everything()
    build(message)
    up(message.SerializeToString(), note)
# Fields that nobody knows are left out.
up(b"\x18\x07" + b"\xa0\x3f\x01", "an unknown field")

with open(out, "w") as file:
    for row in rows:
        file.write(json.dumps(row) + "\n")
print(len(rows))
server.stop(0)
