"""Files and batches through OpenAI's and Anthropic's SDKs; prints what they understood.

usage: files.py BASE KEY OTHER make|after [ID...]
"""

import io
import json
import sys
import time

import anthropic
import openai

base, key, other, what, *ids = sys.argv[1:]
ours = openai.OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)
theirs = openai.OpenAI(base_url=base + "/v1", api_key=other, max_retries=0)
claude = anthropic.Anthropic(base_url=base, api_key=key, max_retries=0)
strange = anthropic.Anthropic(base_url=base, api_key=other, max_retries=0)


def refused(call):
    try:
        call()
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        body = error.body if isinstance(error.body, dict) else {}
        body = body.get("error") or body
        return f"{error.status_code} {body.get('message')}"
    return "nothing"


def line(number, model, words="hello"):
    body = {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": words}]}
    return json.dumps({"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body})


def upload(client, lines, purpose="batch"):
    return client.files.create(file=("in.jsonl", io.BytesIO("\n".join(lines).encode())), purpose=purpose)


if what == "make":
    notes = ours.files.create(file=("notes.txt", io.BytesIO(b"high water\x00\xff" * 1000)), purpose="user_data")
    print("content", ours.files.content(notes.id).read() == b"high water\x00\xff" * 1000)
    print("same", ours.files.retrieve(notes.id).id == notes.id, notes.filename, notes.purpose)
    print("not theirs", refused(lambda: theirs.files.retrieve(notes.id)).replace(notes.id, "ID"))
    print("not theirs", refused(lambda: theirs.files.content(notes.id)).replace(notes.id, "ID"))
    print("not theirs", refused(lambda: theirs.files.delete(notes.id)).replace(notes.id, "ID"))
    foreign = theirs.files.create(file=("x.txt", io.BytesIO(b"x")), purpose="user_data")
    print("lists", [file.id for file in ours.files.list()] == [notes.id], len(list(theirs.files.list())))
    part = {"type": "file", "file": {"file_id": notes.id}}
    text = {"type": "text", "text": "case: text"}
    chat = ours.chat.completions.create(model="small", messages=[{"role": "user", "content": [part, text]}])
    print("chat", chat.choices[0].message.content)
    print("elsewhere", refused(lambda: ours.chat.completions.create(
        model="claude", messages=[{"role": "user", "content": [part, text]}])))
    source = upload(ours, [line(1, "small"), line(2, "small", "the longer question")])
    print("unknown", refused(lambda: upload(ours, [line(1, "small"), line(2, "nobody")])))
    print("forbidden", refused(lambda: upload(theirs, [line(1, "small")])))
    print("broken", refused(lambda: upload(ours, [line(1, "small"), "{"])))
    print("no batch", refused(lambda: ours.batches.create(
        input_file_id=notes.id, endpoint="/v1/chat/completions", completion_window="24h")))
    print("not theirs", refused(lambda: theirs.batches.create(
        input_file_id=source.id, endpoint="/v1/chat/completions", completion_window="24h")).replace(source.id, "ID"))
    batch = ours.batches.create(
        input_file_id=source.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"a": "b"})
    print("batch", batch.status, batch.input_file_id == source.id, batch.metadata)
    print("not theirs", refused(lambda: theirs.batches.cancel(batch.id)).replace(batch.id, "ID"))
    print("lists", [one.id for one in ours.batches.list()] == [batch.id], len(list(theirs.batches.list())))
    ours.files.delete(notes.id)
    print("gone", refused(lambda: ours.files.retrieve(notes.id)).replace(notes.id, "ID"))
    params = {"model": "claude", "max_tokens": 64, "messages": [{"role": "user", "content": "hello"}]}
    messages = claude.messages.batches.create(requests=[{"custom_id": "c1", "params": params}])
    print("claude", messages.processing_status)
    print("claude refuses", refused(lambda: claude.messages.batches.create(
        requests=[{"custom_id": "c1", "params": {**params, "model": "nobody"}}])))
    print("not theirs", refused(lambda: strange.messages.batches.retrieve(messages.id)).replace(messages.id, "ID"))
    print("claude lists", [one.id for one in claude.messages.batches.list()] == [messages.id],
          len(list(strange.messages.batches.list())))
    kept = claude.beta.files.upload(file=("x.txt", b"abc", "text/plain"))
    print("claude file", kept.filename, kept.size_bytes, [one.id for one in claude.beta.files.list()] == [kept.id])
    print("ids", batch.id, messages.id, foreign.id)
else:
    while (batch := ours.batches.retrieve(ids[0])).status != "completed":
        time.sleep(0.05)
    results = ours.files.content(batch.output_file_id).read().decode().splitlines()
    print("results", [json.loads(one)["response"]["body"]["choices"][0]["message"]["content"] for one in results])
    print("not theirs", refused(lambda: theirs.files.content(batch.output_file_id)).split(" `")[0])
    print("lists", [(one.id == ids[0], one.status) for one in ours.batches.list()], len(list(theirs.batches.list())))
    while (messages := claude.messages.batches.retrieve(ids[1])).processing_status != "ended":
        time.sleep(0.05)
    print("claude", [one.result.message.content[0].text for one in claude.messages.batches.results(ids[1])])
    print("claude", [one.result.message.content[0].text for one in claude.messages.batches.results(ids[1])])
    print("not theirs", refused(lambda: strange.messages.batches.retrieve(ids[1])).split(" `")[0])
