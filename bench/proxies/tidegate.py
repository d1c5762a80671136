"""Tidegate, built from this tree or from another revision."""

import json
import os
import signal

from proxies.process import WORKERS, Proxy


class Tidegate(Proxy):
    """Two workers; admin endpoint and metrics are on, as they always are."""

    NAME = "Tidegate"
    BINARY = ""

    def write(self):
        # JSON is YAML. Moved into place, as an editor would: the file is watched.
        new = self.folder / "tidegate.new"
        new.write_text(json.dumps(self.config(), indent=1))
        os.rename(new, self.folder / "tidegate.yaml")

    def command(self):
        config = str(self.folder / "tidegate.yaml")
        return [self.BINARY, "run", "--config", config, "--data-dir", str(self.folder / "data")]

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def config(self):
        kind = self.setup.kind
        listener = {"name": "bench", "address": f"127.0.0.1:{self.port}"}
        if kind == "tls":
            certificate = {"certFile": self.tools.certificate, "keyFile": self.tools.key}
            listener["tls"] = {"certificates": [certificate]}
        port = self.upstream.h2c if kind == "grpc" else self.upstream.http1
        upstream = {"name": "mock", "endpoints": [{"address": f"127.0.0.1:{port}"}]}
        upstream["pool"] = {"maxIdlePerWorker": 256}
        if kind == "grpc":
            upstream["protocol"] = "grpc"
        config = {
            "listeners": [listener],
            "admin": {"address": "127.0.0.1:0"},
            "runtime": {"workers": WORKERS},
            "upstreams": [upstream],
            "routes": self.routes(),
        }
        if kind == "chain":
            config["consumers"] = [{"name": "bench", "keys": [{"file": self.tools.key_file}]}]
            config["accessLog"] = [{"kind": "file", "path": str(self.folder / "access.log"), "format": "json"}]
        return config

    def routes(self):
        backends = [{"upstream": "mock"}]
        if self.setup.kind == "routes":
            return [
                {"name": f"r{n}", "match": [{"path": {"prefix": f"/r/{n:06}"}}], "backends": backends}
                for n in range(self.setup.routes)
            ]
        route = {"name": "all", "match": [{"path": {"prefix": "/"}}], "backends": backends}
        if self.setup.kind == "chain":
            limit = {"limit": 1_000_000, "window": "1s", "key": "consumer"}
            route["policies"] = [{"keyAuth": {"header": "x-api-key"}}, {"rateLimit": limit}]
        return [route]
