"""nginx as Debian ships it: two workers, one socket each, keep-alive to the upstream."""

import signal

from proxies.process import KEY, WORKERS, Proxy

#: The fields that Tidegate's line has, as far as nginx knows them.
LOG_FORMAT = (
    '{"timestamp":"$time_iso8601","request_id":"$request_id","route":"all","upstream":"$upstream_addr",'
    '"consumer":"$consumer","method":"$request_method","path":"$uri","query":"$args","host":"$host",'
    '"protocol":"$server_protocol","client_ip":"$remote_addr","status":$status,"request_bytes":$request_length,'
    '"response_bytes":$bytes_sent,"duration_s":$request_time,"connect_s":"$upstream_connect_time",'
    '"upstream_first_byte_s":"$upstream_header_time","user_agent":"$http_user_agent"}'
)

PROXY = """
      proxy_pass http://mock;
      proxy_http_version 1.1;
      proxy_max_temp_file_size 0;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Request-Id $request_id;
"""

GRPC = """
      grpc_pass grpc://mock;
      grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      grpc_set_header X-Request-Id $request_id;
"""


class Nginx(Proxy):
    """`map` knows the key, `limit_req` limits, `access_log` writes JSON; `stub_status` is all it counts."""

    NAME = "nginx"

    def command(self):
        return [self.tools.nginx, "-c", str(self.folder / "nginx.conf"), "-p", str(self.folder), "-e", "stderr"]

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def write(self):
        kind = self.setup.kind
        listen = {"tls": " ssl", "h2": " http2", "grpc": " http2"}.get(kind, "")
        port = self.upstream.h2c if kind == "grpc" else self.upstream.http1
        http, server = self.http(), []
        log = "off"
        if kind == "tls":
            server.append(f"ssl_certificate {self.tools.certificate}; ssl_certificate_key {self.tools.key};")
        if kind == "chain":
            http.append(f'map $http_x_api_key $consumer {{ default ""; "{KEY}" bench; }}')
            http.append("limit_req_zone $consumer zone=bench:1m rate=1000000r/s;")
            http.append(f"log_format bench escape=json '{LOG_FORMAT}';")
            server.append('if ($consumer = "") { return 401; }')
            server.append("limit_req zone=bench burst=100000 nodelay;")
            log = f"{self.folder}/access.log bench buffer=64k flush=1s"
        server.extend(self.locations())
        paths = "\n".join(
            f"  {name}_temp_path {self.folder}/{name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        text = f"""
user root;
daemon off;
pid {self.folder}/nginx.pid;
worker_processes {WORKERS};
worker_rlimit_nofile {self.tools.files};
error_log stderr error;
events {{ worker_connections {self.tools.files - 100}; multi_accept on; }}
http {{
{paths}
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  server_tokens off;
  tcp_nodelay on;
  variables_hash_max_size 4096;
  upstream mock {{ server 127.0.0.1:{port}; keepalive 256; keepalive_requests 1000000000; }}
  {chr(10).join(http)}
  access_log {log};
  server {{
    listen 127.0.0.1:{self.port}{listen} reuseport backlog=4096;
    {chr(10).join(server)}
  }}
}}
"""
        if self.tools.uid != 0:
            text = text.replace("user root;\n", "")
        (self.folder / "nginx.conf").write_text(text)

    def http(self):
        """What stands beside the server."""
        return []

    def locations(self):
        if self.setup.kind == "routes":
            return [f"location /r/{n:06} {{{PROXY}}}" for n in range(self.setup.routes)]
        status = "location = /status { stub_status; }"
        return [f"location / {{{GRPC if self.setup.kind == 'grpc' else PROXY}}}", status]
