"""Envoy's `ext_authz` as Envoy itself has it: a server made of the messages that are generated from its own files, on Google's gRPC.

Prints a line of JSON for each question: all that it says in official names, and the places of fields that Envoy does not know."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from envoy.service.auth.v3 import external_auth_pb2 as auth, external_auth_pb2_grpc as service
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet


def unknown(message, place=""):
    """Where a message has fields that are none of its kind's."""
    found = [f"{place}#{field.field_number}" for field in UnknownFieldSet(message)]
    for field, value in message.ListFields():
        below = f"{place}.{field.name}"
        if isinstance(value, Message):
            found += unknown(value, below)
        elif field.message_type and not field.message_type.GetOptions().map_entry:
            for one in value:
                found += unknown(one, below)
    return found


def header(key, value, **more):
    return {"header": {"key": key, "value": value}, **more}


ANSWERS = {
    # All that an answer may have, used here or not.
    "good": {
        "status": {"code": 0, "message": "fine", "details": [{"@type": "type.googleapis.com/google.rpc.Status", "code": 3}]},
        "ok_response": {
            "headers": [
                header("x-user", "ann", append_action="OVERWRITE_IF_EXISTS_OR_ADD"),
                header("X-Group", "a", append=False),
                header("x-group", "b", append=True),
                header("x-secret", "no"),
                {"header": {"key": "x-raw", "raw_value": "Z3LDvG4="}, "keep_empty_value": True},
            ],
            "headers_to_remove": ["X-Drop", "host", "content-length", "not a name", ":path"],
            "response_headers_to_add": [
                header("x-told", "yes"), header("x-told", "again"), header("x-secret", "no"), header("x-broken", "a\nb"),
            ],
            "query_parameters_to_set": [{"key": "a", "value": "b"}],
            "query_parameters_to_remove": ["c"],
            "dynamic_metadata": {"of": "the answer"},
        },
        "dynamic_metadata": {"of": ["the", "whole", 1]},
    },
    "plain": {"ok_response": {}, "status": {}},
    "bare": {"status": {}},
    "limited": {
        "status": {"code": 8, "message": "slowly"},
        "denied_response": {
            "status": {"code": "TooManyRequests"},
            "headers": [header("retry-after", "7"), header("x-secret", "no")],
            "body": "later, gr\u00fc\u00dfe",
        },
    },
    "away": {
        "status": {"code": 16},
        "denied_response": {"status": {"code": "Found"}, "headers": [header("location", "https://id.test/?a=b")]},
    },
    # What names no status is Forbidden.
    "statusless": {"status": {"code": 7}, "denied_response": {"body": "no"}},
    "refused": {"status": {"code": 7}},
    # The status decides, whatever else stands there.
    "both": {"status": {"code": 7}, "ok_response": {"headers": [header("x-user", "root")]}},
    "odd": {"status": {"code": 0}, "denied_response": {"status": {"code": "Unauthorized"}}},
    "empty": {},
}


class Authorization(service.AuthorizationServicer):
    def Check(self, request, context):
        told = MessageToDict(request, preserving_proto_field_name=True)
        print(json.dumps({"question": told, "unknown": unknown(request), "by": context.peer()}), flush=True)
        shown = told["attributes"]["request"]["http"].get("headers", {}).get("authorization", "")
        if shown not in ANSWERS:
            context.abort(grpc.StatusCode.INTERNAL, "broken")
        return ParseDict(ANSWERS[shown], auth.CheckResponse())


server = grpc.server(ThreadPoolExecutor(4))
service.add_AuthorizationServicer_to_server(Authorization(), server)
assert server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
print("ready", flush=True)
server.wait_for_termination()
