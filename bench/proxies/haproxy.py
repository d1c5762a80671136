"""HAProxy as Debian ships it: one process of two threads under its master, connections to the upstream reused."""

import signal

from proxies.process import KEY, WORKERS, Proxy, free_port

LOG_FORMAT = (
    '{"timestamp":"%Tl","request_id":"%ID","route":"%b","upstream":"%s","consumer":"%[var(txn.consumer)]",'
    '"method":"%HM","path":"%HP","query":"%HQ","host":"%[var(txn.host)]","protocol":"%HV","client_ip":"%ci",'
    '"status":%ST,"request_bytes":%U,"response_bytes":%B,"duration_ms":%Ta,"connect_ms":%Tc,'
    '"upstream_first_byte_ms":%Tr,"user_agent":"%[var(txn.agent),json(utf8s)]"}'
)


class HAProxy(Proxy):
    """A map knows the key, a stick-table limits, the log goes to its standard output as HAProxy has no files."""

    NAME = "HAProxy"

    def command(self):
        return [self.tools.haproxy, "-W", "-f", str(self.folder / "haproxy.cfg")]

    def reload(self):
        self.process.send_signal(signal.SIGUSR2)

    def write(self):
        kind = self.setup.kind
        bind = {"tls": f" ssl crt {self.tools.bundle} alpn h2,http/1.1", "h2": " proto h2", "grpc": " proto h2"}
        server = (self.upstream.h2c, " proto h2") if kind == "grpc" else (self.upstream.http1, "")
        logs, rules, extra = "", [], ""
        if kind == "chain":
            (self.folder / "keys.map").write_text(f"{KEY} bench\n")
            logs = "log stdout format raw local0"
            rules = [
                f"http-request set-var(txn.consumer) req.hdr(x-api-key),map_str({self.folder}/keys.map)",
                "http-request deny deny_status 401 if !{ var(txn.consumer) -m found }",
                "http-request del-header x-api-key",
                "http-request set-var(txn.host) req.hdr(host)",
                "http-request set-var(txn.agent) req.hdr(user-agent)",
                "http-request track-sc0 var(txn.consumer) table limits",
                "http-request deny deny_status 429 if { sc_http_req_rate(0) gt 1000000 }",
                f"log-format '{LOG_FORMAT}'",
                "log global",
            ]
            extra = f"""
backend limits
  stick-table type string len 32 size 10k expire 10s store http_req_rate(1s)
frontend metrics
  bind 127.0.0.1:{free_port()}
  http-request use-service prometheus-exporter
"""
        if kind == "routes":
            routes = "".join(f"/r/{n:06} mock\n" for n in range(self.setup.routes))
            (self.folder / "routes.map").write_text(routes)
            rules = [f"use_backend %[path,map_beg({self.folder}/routes.map)]"]
        lines = "\n  ".join(rules + ([] if kind == "routes" else ["default_backend mock"]))
        (self.folder / "haproxy.cfg").write_text(
            f"""
global
  nbthread {WORKERS}
  no strict-limits
  maxconn 10500
  {logs}
defaults
  mode http
  timeout client 600s
  timeout server 60s
  timeout connect 1s
  timeout http-keep-alive 600s
  http-reuse always
  unique-id-format %[uuid]
  unique-id-header x-request-id
  option forwardfor
frontend bench
  bind 127.0.0.1:{self.port}{bind.get(kind, "")} backlog 4096
  {lines}
backend mock
  server one 127.0.0.1:{server[0]}{server[1]} pool-max-conn 256
{extra}"""
        )
