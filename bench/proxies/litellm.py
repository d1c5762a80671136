"""LiteLLM's proxy (PyPI): two workers, no database, its logs at the level of errors."""

import json

from proxies.process import KEY, WORKERS, Proxy


class LiteLLM(Proxy):
    """One model, which is the mock provider's by OpenAI's dialect."""

    NAME = "LiteLLM"
    START_SECONDS = 180.0
    STREAM_SECONDS = 12

    def write(self):
        parameters = {"model": "openai/mock", "api_base": f"http://127.0.0.1:{self.upstream.provider}/v1", "api_key": "k"}
        config = {
            "model_list": [{"model_name": "smart", "litellm_params": parameters}],
            "general_settings": {"master_key": f"sk-{KEY}"},
            "litellm_settings": {"telemetry": False, "num_retries": 0},
        }
        (self.folder / "config.yaml").write_text(json.dumps(config))

    def command(self):
        python = self.tools.litellm
        # Its table of prices is in the package; without this it asks for a newer one elsewhere.
        environment = ["LITELLM_LOCAL_MODEL_COST_MAP=True", "LITELLM_LOG=ERROR", "NO_DOCS=True"]
        flags = ["--config", str(self.folder / "config.yaml"), "--host", "127.0.0.1", "--port", str(self.port)]
        return ["env", *environment, python, *flags, "--num_workers", str(WORKERS), "--telemetry", "False"]

    def fields(self):
        """What a client sends with each request."""
        return [f"Authorization: Bearer sk-{KEY}"]
