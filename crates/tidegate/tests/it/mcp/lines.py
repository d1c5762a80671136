"""A server of lines, without any package: lines.py NAME. It tells of its process, starts others, and dies when told."""

import json
import os
import subprocess
import sys
import threading
import time

name = sys.argv[1]
TOOLS = ["pid", "env", "spawn", "die", "ask", "work", "silent", "flood",
         "doze", "heap", "chatter", "log", "change"]
print(f"{name} has begun", file=sys.stderr, flush=True)


def send(message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def answer(tool, params):
    if tool == "pid":
        return str(os.getpid())
    if tool == "env":
        return json.dumps(dict(os.environ))
    if tool == "spawn":
        return str(subprocess.Popen(["/bin/sleep", "600"]).pid)
    if tool == "die":
        os._exit(3)
    if tool == "flood":
        sys.stdout.write("x" * (17 * 1024 * 1024) + "\n")
        sys.stdout.flush()
    if tool == "ask":
        send({"id": 1, "method": "sampling/createMessage", "params": {}})
        return json.dumps(json.loads(sys.stdin.readline()).get("error"))
    if tool == "doze":
        time.sleep(2)
    if tool == "heap":
        # Far more than the buffers of any socket hold.
        token = params.get("_meta", {}).get("progressToken")
        for part in range(200):
            send({"method": "notifications/progress",
                  "params": {"progressToken": token, "progress": part, "message": "x" * 512 * 1024}})
    if tool == "chatter":
        threading.Thread(target=chatter, daemon=True).start()
    if tool == "log":
        send({"method": "notifications/message", "params": {"level": "info", "data": "for one alone"}})
    if tool == "change":
        send({"method": "notifications/tools/list_changed"})
    if tool == "work":
        token = params.get("_meta", {}).get("progressToken")
        for part in [1, 2]:
            send({"method": "notifications/progress", "params": {"progressToken": token, "progress": part}})
    return tool


def chatter():
    while True:
        send({"method": "notifications/message", "params": {"level": "info", "data": "idle talk"}})
        time.sleep(0.05)


cancelled = []
for line in sys.stdin:
    message = json.loads(line)
    method, params = message.get("method"), message.get("params", {})
    if method == "notifications/cancelled":
        cancelled.append(params["requestId"])
        print(f"{name} was told to cancel", file=sys.stderr, flush=True)
    if "id" not in message or method is None:
        continue
    if method == "initialize":
        capabilities = {"tools": {"listChanged": True}}
        result = {"protocolVersion": params["protocolVersion"], "capabilities": capabilities,
                  "serverInfo": {"name": name, "version": "1"}}
    elif method == "tools/list":
        result = {"tools": [{"name": tool, "inputSchema": {"type": "object"}} for tool in TOOLS]}
    elif method == "tools/call":
        if params["name"] == "silent":
            continue
        result = {"content": [{"type": "text", "text": answer(params["name"], params)}]}
    else:
        send({"id": message["id"], "error": {"code": -32601, "message": "no such method"}})
        continue
    send({"id": message["id"], "result": result})
