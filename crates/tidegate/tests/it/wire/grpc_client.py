"""A gRPC client without generated code. Arguments: the gateway's address and a scenario; it ends well or says why not."""
import queue
import sys
import time

import grpc

channel = grpc.insecure_channel(sys.argv[1])


def failed(call, code, details=None):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, (error.code(), error.details())
        assert details is None or error.details() == details, error.details()
        return error
    raise AssertionError(f"not {code}")


def fields(metadata):
    return {key: value for key, value in metadata}


def unary():
    call = channel.unary_unary("/demo.Test/Unary")
    for size in (0, 1, 100_000, 3_000_000):
        answer, done = call.with_call(b"x" * size, metadata=(("x-ask", "me"),), timeout=20)
        assert answer == b"x" * size
        assert fields(done.initial_metadata())["x-initial"] == "me"
        assert fields(done.trailing_metadata()) == {"x-trailing": "end", "x-bytes-bin": b"\x00\xff"}
        assert done.code() == grpc.StatusCode.OK


def status():
    error = failed(
        lambda: channel.unary_unary("/demo.Test/Fail")(b"", timeout=20),
        grpc.StatusCode.FAILED_PRECONDITION,
        "no: 100% käse",
    )
    assert fields(error.trailing_metadata())["x-trailing"] == "why"
    stream = channel.unary_stream("/demo.Test/FailLate")(b"", timeout=20)
    assert next(stream) == b"one"
    failed(lambda: next(stream), grpc.StatusCode.DATA_LOSS, "lost")
    failed(lambda: channel.unary_unary("/demo.Test/Missing")(b"", timeout=20), grpc.StatusCode.UNIMPLEMENTED)


def streams():
    counted = channel.unary_stream("/demo.Test/Count")(b"100", timeout=20)
    assert [int(message) for message in counted] == list(range(100))
    assert fields(counted.trailing_metadata())["x-trailing"] == "end"
    gathered = channel.stream_unary("/demo.Test/Gather")(iter([b"a", b"b", b"c"]), timeout=20)
    assert gathered == b"a,b,c"
    # Each message is answered before the next is sent: none waits for another.
    outgoing = queue.Queue()
    chat = channel.stream_stream("/demo.Test/Chat")(iter(outgoing.get, None), timeout=20)
    for at in range(20):
        outgoing.put(b"%d" % at)
        assert next(chat) == b"re: %d" % at
    outgoing.put(None)
    assert list(chat) == []


def quiet():
    # Far longer than the route's timeouts, with nothing from one side or the other for a while.
    outgoing = queue.Queue()
    chat = channel.stream_stream("/demo.Test/Chat")(iter(outgoing.get, None), timeout=20)
    time.sleep(1.5)
    outgoing.put(b"first")
    assert next(chat) == b"re: first"
    outgoing.put(None)
    assert list(chat) == []
    drops = channel.unary_stream("/demo.Test/Drip")(b"", timeout=20)
    began = time.monotonic()
    while time.monotonic() - began < 2:
        assert next(drops) == b"drop"
    drops.cancel()


def remaining():
    start = time.monotonic()
    left = float(channel.unary_unary("/demo.Test/Remaining")(b"", timeout=60))
    took = time.monotonic() - start
    # What is told was left at some time between the two looks at the clock, to a tenth of a second.
    assert 60 - took - 0.1 <= left <= 60, (left, took)


def deadline():
    # On a busy machine the time may be over before the server has begun, so the next call has twice as much.
    for doubled in range(8):
        call = lambda: channel.unary_unary("/demo.Test/Slow")(b"", timeout=0.3 * 2**doubled)
        failed(call, grpc.StatusCode.DEADLINE_EXCEEDED)
        if float(channel.unary_unary("/demo.Test/Begun")(b"", timeout=20)) > 0:
            return
    raise AssertionError("the server never began")


def cancel():
    drops = channel.unary_stream("/demo.Test/Drip")(b"", timeout=20)
    assert next(drops) == b"drop"
    drops.cancel()


def refusals():
    def ask(path, **more):
        return lambda: channel.unary_unary(path)(b"", timeout=20, **more)

    failed(ask("/nowhere/Method"), grpc.StatusCode.UNIMPLEMENTED)
    failed(ask("/guarded/Method"), grpc.StatusCode.UNAUTHENTICATED)
    failed(ask("/limited/Method"), grpc.StatusCode.UNIMPLEMENTED)
    error = failed(ask("/limited/Method"), grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert fields(error.trailing_metadata()).get("retry-after") or fields(error.initial_metadata()).get("retry-after")
    failed(ask("/dead/Method"), grpc.StatusCode.UNAVAILABLE)
    failed(ask("/hasty/demo.Test/Slow"), grpc.StatusCode.DEADLINE_EXCEEDED)


globals()[sys.argv[2]]()
print("ok", flush=True)
