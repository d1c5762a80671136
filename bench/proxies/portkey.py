"""Portkey's gateway (npm): one process of Node.js, which is how it comes; the client says where the provider is."""

from proxies.process import KEY, Proxy


class Portkey(Proxy):
    """It has no configuration of its own: each request names its provider."""

    NAME = "Portkey"

    def write(self):
        pass

    def command(self):
        return [self.tools.node, str(self.tools.portkey), f"--port={self.port}", "--headless"]

    def fields(self):
        """What a client sends with each request."""
        return [
            f"Authorization: Bearer {KEY}",
            "x-portkey-provider: openai",
            f"x-portkey-custom-host: http://127.0.0.1:{self.upstream.provider}/v1",
        ]
