"""A server of OPA's Data API, as its documentation has it, in front of OPA's own engine: its library in Go, called from Python."""
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep

from opa_bindings import OpaEngine, OpaError, OpaUndefinedError

engine = OpaEngine()
engine.add_policy("policy.rego", open(sys.argv[2]).read())
mood = {"slow": 0, "fails": False, "asked": 0, "input": None}


class Agent(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def tell(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        mood["slow"] = 3 if "slow" in self.path else 0
        mood["fails"] = "fails" in self.path
        self.tell(200, {"asked": mood["asked"], "input": mood["input"]})

    def do_POST(self):
        length = int(self.headers["content-length"])
        document = json.loads(self.rfile.read(length))
        if not self.path.startswith("/v1/data/"):
            return self.tell(404, {"code": "not_found"})
        mood["asked"] += 1
        mood["input"] = document["input"]
        sleep(mood["slow"])
        if mood["fails"]:
            return self.tell(500, {"code": "internal_error", "message": "evaluation failed"})
        try:
            result = engine.eval_document(self.path[len("/v1/data/"):].replace("/", "."), document["input"])
        except OpaUndefinedError:
            # A document without a result.
            return self.tell(200, {"decision_id": "1"})
        except OpaError as error:
            return self.tell(500, {"code": "internal_error", "message": str(error)})
        self.tell(200, {"decision_id": "1", "result": result})


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Agent)
print("ready", flush=True)
server.serve_forever()
