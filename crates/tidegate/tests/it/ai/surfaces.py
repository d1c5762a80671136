"""Calls everything that OpenAI's and Cohere's SDKs have beside conversations, and prints what they understood.

usage: surfaces.py BASE KEY
"""

import io
import sys

import cohere
from openai import OpenAI

base, key = sys.argv[1:]
client = OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)
sound = ("speech.wav", io.BytesIO(b"RIFF\r\n--boundary\r\n\x00\xff" * 1000), "audio/wav")
picture = ("pier.png", io.BytesIO(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40), "image/png")

print("embeddings", client.embeddings.create(model="any", input=["a", "b"]).usage.total_tokens)
print("completions", client.completions.create(model="any", prompt="The tide").choices[0].text)
print("images", client.images.generate(model="any", prompt="a pier").data[0].b64_json)
print("image-edits", client.images.edit(model="any", image=picture, prompt="at night").data[0].b64_json)
print("speech", len(client.audio.speech.create(model="any", voice="alloy", input="high water").read()))
print("transcriptions", client.audio.transcriptions.create(model="any", file=sound, language="en").text)
print("translations", client.audio.translations.create(model="any", file=sound).text)
print("moderations", client.moderations.create(model="any", input="a text").results[0].flagged)
ranker = cohere.ClientV2(api_key=key, base_url=base)
ranked = ranker.rerank(model="rank", query="tide", documents=["a", "b"], top_n=1)
print("rerank", ranked.results[0].index, ranked.results[0].relevance_score)
