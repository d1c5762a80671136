"""The proxies that are measured, each a file: how it is configured for a setup, started and reloaded.

A setup is what a proxy is configured as: `bare`, `chain`, `tls`, `h2`, `grpc`, or `routes` with a count. What a
proxy cannot do it says in `CANNOT`, by setup, and it is left out there.
"""

from proxies.envoy import Envoy
from proxies.haproxy import HAProxy
from proxies.nginx import Nginx
from proxies.tidegate import Tidegate

PEERS = (Nginx, HAProxy, Envoy)

__all__ = ["PEERS", "Tidegate", "Nginx", "HAProxy", "Envoy"]
