"""Asks for speech, transcriptions, pictures and ranks through OpenAI's and Cohere's SDKs, and prints what they understood.

usage: words.py BASE KEY
"""

import io
import sys

import cohere
import openai
from openai import OpenAI

base, key = sys.argv[1:]
client = OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)
png = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def sound():
    return ("speech.wav", io.BytesIO(b"RIFF\r\n--boundary\r\n\x00\xff" * 100), "audio/wav")


for model, voice, more in [
    ("eleven", "anna", {"speed": 1.1}),
    ("eleven", "anna", {"response_format": "wav"}),
    ("aura", "thalia", {"response_format": "opus"}),
    ("gemini-tts", "kore", {"response_format": "wav"}),
    ("minimax-tts", "Wise_Woman", {"response_format": "pcm"}),
]:
    with client.audio.speech.with_streaming_response.create(model=model, voice=voice, input="high water", **more) as told:
        read = b"".join(told.iter_bytes())
        print("speech", model, told.headers["content-type"], len(read), read[:4])

for model in ["nova", "scribe", "gemini"]:
    told = client.audio.transcriptions.create(model=model, file=sound(), language="en")
    print("heard", model, told.text, told.usage.type)
for model in ["nova", "scribe"]:
    told = client.audio.transcriptions.create(
        model=model, file=sound(), language="en", response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    word, segment = told.words[1], told.segments[0]
    print("timed", model, told.duration, word.word, word.start, word.end, segment.text, segment.end, told.usage.seconds)
    print("srt", model, repr(client.audio.transcriptions.create(model=model, file=sound(), response_format="srt")))
print("text", repr(client.audio.transcriptions.create(model="gemini", file=sound(), response_format="text")))
print("translated", client.audio.translations.create(model="gemini", file=sound()).text)

for model in ["gemini-image", "imagen", "core", "minimax-image", "bedrock-image"]:
    told = client.images.generate(model=model, prompt="a pier", size="1024x1024")
    print("picture", model, told.data[0].b64_json, told.usage and told.usage.output_tokens)
print("pictures", [one.b64_json for one in client.images.generate(model="imagen", prompt="a pier", n=2).data])
print("url", client.images.generate(model="core", prompt="a pier", response_format="url").data[0].url[:22])
for model, images in [("gemini-image", [("a.png", png), ("b.png", png)]), ("inpaint", ("a.png", png))]:
    print("edit", model, client.images.edit(model=model, image=images, prompt="at night").data[0].b64_json)

ranker = cohere.ClientV2(api_key=key, base_url=base)
for model in ["voyage", "jina", "bedrock-rank", "cohere"]:
    told = ranker.rerank(model=model, query="tide", documents=["a", "b"], top_n=1)
    print("rank", model, told.results[0].index, told.results[0].relevance_score)


def refused(what, ask):
    try:
        ask()
        print("refused", what, "not at all")
    except openai.APIStatusError as error:
        print("refused", what, type(error).__name__, error.status_code, error.code, error.message)


def speak(model, voice="anna", **more):
    return client.audio.speech.create(model=model, voice=voice, input=more.pop("input", "high water"), **more)


refused("voice", lambda: speak("eleven", voice="alloy"))
refused("format", lambda: speak("gemini-tts", voice="kore", response_format="flac"))
refused("by the vendor", lambda: speak("eleven", input="refuse me"))
refused("with 200", lambda: speak("minimax-tts", voice="x", input="refuse me"))
refused("key", lambda: speak("wrong", input="wrong key"))
refused("filter", lambda: client.images.generate(model="core", prompt="refuse me"))
refused("filter of 200", lambda: client.images.generate(model="gemini-image", prompt="refuse me"))
refused("two", lambda: client.images.generate(model="core", prompt="a pier", n=2))
refused("times", lambda: client.audio.transcriptions.create(model="gemini", file=sound(), response_format="srt"))
refused("translation", lambda: client.audio.translations.create(model="nova", file=sound()))
