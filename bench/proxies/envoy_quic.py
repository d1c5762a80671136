"""Envoy with a listener of QUIC beside the one of TCP, on the same port number."""

from proxies.envoy import TYPES, Envoy


class EnvoyOverHttp3(Envoy):
    """HTTP/3, with the same certificate, routes and workers."""

    NAME = "Envoy, HTTP/3"
    OVER_QUIC = True

    def config(self):
        config = super().config()
        [tcp] = config["static_resources"]["listeners"]
        [chain] = tcp["filter_chains"]
        manager = {**chain["filters"][0]["typed_config"], "codec_type": "HTTP3", "http3_protocol_options": {}}
        context = dict(chain["transport_socket"]["typed_config"])
        context["common_tls_context"] = {**context["common_tls_context"], "alpn_protocols": ["h3"]}
        transport = {
            "@type": f"{TYPES}.extensions.transport_sockets.quic.v3.QuicDownstreamTransport",
            "downstream_tls_context": {name: value for name, value in context.items() if name != "@type"},
        }
        quic = {
            "name": "bench-quic",
            "address": {"socket_address": {"protocol": "UDP", "address": "127.0.0.1", "port_value": self.port}},
            "enable_reuse_port": True,
            "udp_listener_config": {"quic_options": {}, "downstream_socket_config": {"prefer_gro": True}},
            "filter_chains": [
                {
                    "filters": [{"name": "http", "typed_config": manager}],
                    "transport_socket": {"name": "quic", "typed_config": transport},
                }
            ],
        }
        config["static_resources"]["listeners"].append(quic)
        return config
