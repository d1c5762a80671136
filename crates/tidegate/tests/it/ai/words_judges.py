"""Asks a mock of Jina and MiniMax through the packages that these publish for what the gateway asks it for, and prints what
they understood.

usage: words_judges.py BASE KEY FOLDER
"""

import os
import sys

base, key, folder = sys.argv[1:]
os.environ.update(
    JINA_API_KEY=key, MINIMAX_API_KEY=key, MINIMAX_API_HOST=base, MINIMAX_MCP_BASE_PATH=folder,
    MINIMAX_API_RESOURCE_MODE="local",
)

from jina_cli import api as jina  # noqa: E402: it reads its key when it is imported
from minimax_mcp import server as minimax  # noqa: E402

jina.API_BASE = base + "/jina"
ranked = jina.rerank("tide", ["a", "b"], model="jina-reranker-v3", top_n=1)
print("jina rank", ranked[0]["index"], ranked[0]["relevance_score"])
vectors = jina.embed(["high water"], model="jina-embeddings-v5-text-small", dimensions=2)
print("jina vector", vectors[0]["embedding"])

told = minimax.text_to_audio("high water", folder, voice_id="Wise_Woman", model="speech-2.6-hd", speed=1.1, format="mp3")
sound = [name for name in os.listdir(folder) if name.endswith(".mp3")]
print("minimax speech", told.text.split(".")[0], len(open(os.path.join(folder, sound[0]), "rb").read()))
minimax.resource_mode = "url"
print("minimax picture", minimax.text_to_image(model="image-01", prompt="a pier", aspect_ratio="1:1", n=2).text)
