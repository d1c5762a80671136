"""An OTLP receiver of the official messages (opentelemetry-proto), over http/protobuf or grpc.

It judges what arrives against the specification and the official semantic conventions, keeps it, and tells a test
about it as JSON: GET /received at the control port; POST /behave says how the next exports are answered.

usage: otlp_receiver.py http|grpc PORT CONTROL_PORT [CERT_FILE KEY_FILE]
"""

import gzip
import importlib
import json
import pkgutil
import re
import ssl
import sys
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import opentelemetry.semconv._incubating.attributes as incubating
import opentelemetry.semconv.attributes as stable
from google.protobuf.unknown_fields import UnknownFieldSet
from google.protobuf.descriptor import FieldDescriptor
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces_grpc
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.schemas import Schemas

SIGNALS = {
    "traces": (traces.ExportTraceServiceRequest, traces.ExportTraceServiceResponse, "rejected_spans"),
    "metrics": (metrics.ExportMetricsServiceRequest, metrics.ExportMetricsServiceResponse, "rejected_data_points"),
    "logs": (logs.ExportLogsServiceRequest, logs.ExportLogsServiceResponse, "rejected_log_records"),
}


def names(package):
    found = set()
    for module in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{module.name}")
        found |= {value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)}
    return found


STABLE = names(stable)
KNOWN = STABLE | names(incubating)
GEN_AI_METRICS = {value for name, value in vars(gen_ai_metrics).items() if name.isupper() and isinstance(value, str)}
SCHEMAS = {schema.value for schema in Schemas}

lock = threading.Lock()
state = {"spans": [], "logs": [], "metrics": {}, "resource": {}, "requests": {}, "headers": {}, "problems": []}
behaviours = []


def problem(text):
    if len(state["problems"]) < 50:
        state["problems"].append(text)


def check(holds, text):
    if not holds:
        problem(text)


def no_unknown_fields(message, path):
    check(len(UnknownFieldSet(message)) == 0, f"{path}: a field that the messages do not have")
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for one in value if field.is_repeated else [value]:
                no_unknown_fields(one, f"{path}.{field.name}")


def value_of(any_value):
    kind = any_value.WhichOneof("value")
    check(kind in ("string_value", "bool_value", "int_value", "double_value"), f"a value of kind {kind}")
    return getattr(any_value, kind) if kind else None


def attributes(pairs, owner, known):
    found = {}
    for pair in pairs:
        check(pair.key not in found, f"{owner}: {pair.key} twice")
        check(known is None or pair.key in known or pair.key.startswith("tidegate."), f"{owner}: unknown {pair.key}")
        found[pair.key] = value_of(pair.value)
    return found


def keep_resource(part):
    resource = attributes(part.resource.attributes, "resource", None)
    for key in ("service.name", "service.version", "service.instance.id"):
        check(resource.get(key), f"resource without {key}")
    check(part.schema_url in SCHEMAS, f"schema {part.schema_url!r} is none of the official ones")
    state["resource"] = resource


def check_scope(part):
    check(part.scope.name == "tidegate" and part.scope.version, "a scope without name or version")


def is_id(value, size):
    return len(value) == size and any(value)


def keep_traces(request):
    for part in request.resource_spans:
        keep_resource(part)
        for scope in part.scope_spans:
            check_scope(scope)
            for span in scope.spans:
                check(is_id(span.trace_id, 16) and is_id(span.span_id, 8), "span: ids")
                check(not span.parent_span_id or is_id(span.parent_span_id, 8), "span: parent")
                check(0 < span.start_time_unix_nano <= span.end_time_unix_nano, "span: it ends before it starts")
                check(abs(span.end_time_unix_nano / 1e9 - time.time()) < 600, "span: not of our time")
                check(span.kind in (1, 2, 3), f"span: kind {span.kind}")
                check(span.name, "span: no name")
                names = {pair.key for pair in span.attributes}
                of_mcp = "mcp.method.name" in names
                of_model = "gen_ai.operation.name" in names and not of_mcp
                found = attributes(span.attributes, span.name, KNOWN if of_model or of_mcp else STABLE)
                must = ["http.request.method", "url.path", "url.scheme"]
                if of_model:
                    must = ["gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"]
                    wanted = f"{found['gen_ai.operation.name']} {found.get('gen_ai.request.model')}"
                    check(span.name == wanted, f"span {span.name}: not {wanted}")
                elif of_mcp:
                    must = ["mcp.method.name", "mcp.protocol.version"]
                    named = found.get("gen_ai.tool.name") or found.get("gen_ai.prompt.name")
                    wanted = " ".join(filter(None, [found["mcp.method.name"], named]))
                    check(span.name == wanted, f"span {span.name}: not {wanted}")
                elif "tidegate.call" in names:
                    must = ["tidegate.call", "tidegate.upstream"]
                elif span.kind == 3:
                    must = ["http.request.method", "server.address", "server.port", "url.full"]
                for key in must:
                    check(key in found, f"span {span.name} of kind {span.kind} without {key}")
                check((span.status.code == 2) == ("error.type" in found), f"span {span.name}: status and error.type")
                state["spans"].append({
                    "trace": span.trace_id.hex(), "id": span.span_id.hex(), "parent": span.parent_span_id.hex(),
                    "name": span.name, "kind": {1: "internal", 2: "server", 3: "client"}.get(span.kind), "flags": span.flags,
                    "start": span.start_time_unix_nano, "end": span.end_time_unix_nano,
                    "status": span.status.code, "message": span.status.message, "attributes": found,
                })


def keep_logs(request):
    for part in request.resource_logs:
        keep_resource(part)
        for scope in part.scope_logs:
            check_scope(scope)
            for record in scope.log_records:
                check(record.time_unix_nano > 0 and record.observed_time_unix_nano > 0, "log: times")
                check((record.severity_number, record.severity_text) in ((9, "INFO"), (17, "ERROR")), "log: severity")
                check(record.HasField("body") or record.event_name, "log: neither body nor event")
                check(not record.trace_id or is_id(record.trace_id, 16), "log: trace id")
                check(not record.span_id or is_id(record.span_id, 8), "log: span id")
                state["logs"].append({
                    "trace": record.trace_id.hex(), "span": record.span_id.hex(), "flags": record.flags,
                    "severity": record.severity_text, "body": value_of(record.body) if record.HasField("body") else None,
                    "event": record.event_name,
                    "attributes": attributes(record.attributes, "log", KNOWN),
                })


def points_of(metric):
    kind = metric.WhichOneof("data")
    data = getattr(metric, kind)
    if kind in ("sum", "histogram"):
        check(data.aggregation_temporality == 2, f"{metric.name}: not cumulative")
    if kind == "sum":
        check(data.is_monotonic, f"{metric.name}: not monotonic")
    points = []
    for point in data.data_points:
        known = KNOWN if metric.name.startswith("gen_ai") else None
        found = {"attributes": attributes(point.attributes, metric.name, known)}
        check(point.time_unix_nano > 0, f"{metric.name}: no time")
        if kind != "gauge":
            check(0 < point.start_time_unix_nano <= point.time_unix_nano, f"{metric.name}: no start")
        if kind == "histogram":
            check(sum(point.bucket_counts) == point.count, f"{metric.name}: counts do not add up")
            check(len(point.bucket_counts) == len(point.explicit_bounds) + 1, f"{metric.name}: bounds")
            check(list(point.explicit_bounds) == sorted(point.explicit_bounds), f"{metric.name}: order of bounds")
            found.update(count=point.count, sum=point.sum, buckets=list(point.bucket_counts),
                         bounds=list(point.explicit_bounds))
        else:
            check(point.WhichOneof("value") == "as_double", f"{metric.name}: a point without a value")
            found["value"] = point.as_double
        points.append(found)
    return kind, points


def keep_metrics(request):
    seen = {}
    for part in request.resource_metrics:
        keep_resource(part)
        for scope in part.scope_metrics:
            check_scope(scope)
            for metric in scope.metrics:
                check(metric.description, f"{metric.name}: no description")
                if metric.name.startswith("gen_ai"):
                    check(metric.name in GEN_AI_METRICS, f"{metric.name}: none of the conventions' metrics")
                    check(metric.unit == ("{token}" if "token.usage" in metric.name else "s"), f"{metric.name}: unit")
                else:
                    check(re.fullmatch(r"[a-z][a-z0-9_]*", metric.name), f"{metric.name}: a name")
                    check(metric.unit in ("1", "s", "By"), f"{metric.name}: unit")
                kind, points = points_of(metric)
                entry = seen.setdefault(metric.name, {"kind": kind, "unit": metric.unit, "points": []})
                entry["points"] += points
    state["metrics"] = seen


KEEP = {"traces": keep_traces, "logs": keep_logs, "metrics": keep_metrics}


def behaviour(signal):
    """How this export is answered, if not well."""
    for one in behaviours:
        if one["signal"] == signal and one.get("times", 1 << 60) > 0:
            one["times"] = one.get("times", 1 << 60) - 1
            return one
    return None


def take(signal, request, headers):
    """Keeps a request; the answer, or the behaviour that stands in for it."""
    _, response, rejected = SIGNALS[signal]
    with lock:
        state["requests"][signal] = state["requests"].get(signal, 0) + 1
        state["headers"] = headers
        wanted = behaviour(signal)
    if wanted and "stall" in wanted:
        time.sleep(wanted["stall"])
    if wanted and "rejected" not in wanted:
        return None, wanted
    with lock:
        no_unknown_fields(request, signal)
        KEEP[signal](request)
    answer = response()
    if wanted:
        setattr(answer.partial_success, rejected, wanted["rejected"])
        answer.partial_success.error_message = "told to"
    return answer, None


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        signal = self.path.removeprefix("/v1/")
        check(self.headers["content-type"] == "application/x-protobuf", "the content type")
        if signal not in SIGNALS:
            problem(f"a request for {self.path}")
            return self.reply(404, b"", {})
        if self.headers["content-encoding"] == "gzip":
            body = gzip.decompress(body)
        request = SIGNALS[signal][0].FromString(body)
        answer, wanted = take(signal, request, {name.lower(): value for name, value in self.headers.items()})
        if wanted:
            extra = {"retry-after": str(wanted["retryAfter"])} if "retryAfter" in wanted else {}
            return self.reply(wanted.get("status", 503), b"", extra)
        self.reply(200, answer.SerializeToString(), {"content-type": "application/x-protobuf"})

    def reply(self, status, body, extra):
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **extra}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def servicer(signal, base):
    class Servicer(base):
        def Export(self, request, context):
            headers = dict(context.invocation_metadata())
            check(context.time_remaining() is not None, "a call without a deadline")
            answer, wanted = take(signal, request, headers)
            if wanted:
                if "retryAfter" in wanted:
                    context.set_trailing_metadata((("grpc-status-details-bin", retry_info(wanted)),))
                context.abort(code_of(wanted.get("grpc", 14)), "told to")
            return answer

    return Servicer()


def code_of(number):
    return next(code for code in grpc.StatusCode if code.value[0] == number)


def retry_info(wanted):
    """A google.rpc.Status with a RetryInfo, written by hand: field numbers and wire types of the public messages."""
    seconds = int(wanted["retryAfter"])
    delay = b"\x08" + bytes([seconds])
    info = b"\x0a" + bytes([len(delay)]) + delay
    url = b"type.googleapis.com/google.rpc.RetryInfo"
    detail = b"\x0a" + bytes([len(url)]) + url + b"\x12" + bytes([len(info)]) + info
    return b"\x08" + bytes([wanted.get("grpc", 14)]) + b"\x1a" + bytes([len(detail)]) + detail


class Control(BaseHTTPRequestHandler):
    def do_GET(self):
        with lock:
            self.reply(json.dumps(state).encode())

    def do_POST(self):
        wanted = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with lock:
            behaviours[:] = wanted
        self.reply(b"{}")

    def reply(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    protocol, port, control = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    files = sys.argv[4:6]
    if protocol == "http":
        server = ThreadingHTTPServer(("127.0.0.1", port), Http)
        if files:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*files)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    else:
        server = grpc.server(futures.ThreadPoolExecutor(8))
        traces_grpc.add_TraceServiceServicer_to_server(servicer("traces", traces_grpc.TraceServiceServicer), server)
        metrics_grpc.add_MetricsServiceServicer_to_server(
            servicer("metrics", metrics_grpc.MetricsServiceServicer), server)
        logs_grpc.add_LogsServiceServicer_to_server(servicer("logs", logs_grpc.LogsServiceServicer), server)
        if files:
            cert, key = (open(file, "rb").read() for file in files)
            server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([(key, cert)]))
        else:
            server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
    ThreadingHTTPServer(("127.0.0.1", control), Control).serve_forever()


main()
