"""A gRPC server without generated code: messages are bytes. Prints `ready`, and a line for each call that ends early."""
import sys
import threading
import time
from concurrent import futures

import grpc


def told(context):
    return {key: value for key, value in context.invocation_metadata()}


def greet(context):
    context.send_initial_metadata((("x-initial", told(context).get("x-ask", "none")),))
    context.set_trailing_metadata((("x-trailing", "end"), ("x-bytes-bin", b"\x00\xff")))


def unary(request, context):
    greet(context)
    return request


def fail(request, context):
    context.set_trailing_metadata((("x-trailing", "why"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no: 100% käse")


def fail_late(request, context):
    yield b"one"
    context.abort(grpc.StatusCode.DATA_LOSS, "lost")


begun = []


def slow(request, context):
    begun.append(1)
    ended = threading.Event()
    context.add_callback(ended.set)
    if ended.wait(20):
        print("slow ended early", flush=True)
    return request


def remaining(request, context):
    return str(context.time_remaining()).encode()


def count(request, context):
    greet(context)
    for at in range(int(request)):
        yield str(at).encode()


def drip(request, context):
    ended = threading.Event()

    # Not after the loop: a call that ends while a message is handed over is not asked for another one.
    def end():
        ended.set()
        print("drip ended early", flush=True)

    context.add_callback(end)
    while not ended.wait(0.05):
        yield b"drop"


def gather(requests, context):
    return b",".join(requests)


def chat(requests, context):
    greet(context)
    for request in requests:
        yield b"re: " + request
    print("chat ended", flush=True)


handlers = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
    "Slow": grpc.unary_unary_rpc_method_handler(slow),
    "Begun": grpc.unary_unary_rpc_method_handler(lambda request, context: str(len(begun)).encode()),
    "Remaining": grpc.unary_unary_rpc_method_handler(remaining),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Drip": grpc.unary_stream_rpc_method_handler(drip),
    "Gather": grpc.stream_unary_rpc_method_handler(gather),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
}
server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("demo.Test", handlers),))
assert server.add_insecure_port("127.0.0.1:" + sys.argv[1])
server.start()
print("ready", flush=True)
server.wait_for_termination()
