"""Tidegate as an AI gateway, in the ways that are compared: plain proxying of the same bytes, the AI gateway bare,
governed, and translating."""

from proxies.process import KEY
from proxies.tidegate import Tidegate


class Plain(Tidegate):
    """No AI gateway: the bytes are proxied to the provider as to any upstream."""

    NAME = "Tidegate, plain"
    PATH = "/v1/chat/completions"

    def config(self):
        config = super().config()
        config["upstreams"][0]["endpoints"] = [{"address": f"127.0.0.1:{self.upstream.provider}"}]
        return config

    def fields(self):
        """What a client sends with each request."""
        return [f"x-api-key: {KEY}"]


class Bare(Plain):
    """Caller and provider speak OpenAI's dialect; nothing but the AI gateway itself."""

    NAME = "Tidegate, bare"
    PATH = "/ai/v1/chat/completions"
    KIND = "openai"
    POLICIES = ()

    def config(self):
        config = super().config()
        version = "" if self.KIND == "anthropic" else "/v1"
        base = f"http://127.0.0.1:{self.upstream.provider}{version}"
        config["ai"] = {
            "providers": [{"name": "mock", "kind": self.KIND, "baseUrl": base, "keys": [{"file": self.tools.key_file}]}],
            "models": [{"name": "smart", "targets": [{"provider": "mock", "model": "mock"}]}],
            "prices": [{"provider": "mock", "model": "mock", "input": "0.10", "output": "0.40"}],
        }
        route = {"name": "all", "match": [{"path": {"prefix": "/ai"}}], "ai": {"stripPrefix": "/ai"}}
        if self.POLICIES:
            route["policies"] = list(self.POLICIES)
            config["consumers"] = [{"name": "bench", "keys": [{"file": self.tools.key_file}]}]
            config["accessLog"] = [{"kind": "file", "path": str(self.folder / "access.log"), "format": "json"}]
        config["routes"] = [route]
        return config


class Governed(Bare):
    """The same with a key, a limit of tokens, a budget, guardrails, and a JSON access log."""

    NAME = "Tidegate, governed"
    POLICIES = (
        {"keyAuth": {"headers": ["x-api-key", "authorization"]}},
        {"tokenRateLimit": {"tokens": 1_000_000_000_000, "window": "1m", "key": "consumer"}},
        {"budget": {"amount": 1_000_000_000, "per": "month"}},
        {
            "guardrails": {
                "rules": [
                    {"name": "personal", "mode": "mask", "personalData": ["email", "phone", "card", "iban", "secret"]},
                    {"name": "rivals", "words": ["Acme Corp"]},
                    {"name": "talk", "on": "request", "injection": {"threshold": 0.5}},
                ]
            }
        },
    )


class Translated(Bare):
    """The caller speaks OpenAI's dialect, the provider Anthropic's."""

    NAME = "Tidegate, translated"
    KIND = "anthropic"


class GovernedTranslated(Governed):
    """Governed, and translated."""

    NAME = "Tidegate, governed and translated"
    KIND = "anthropic"
