"""Files in parts through OpenAI's SDK; prints what it understood.

usage: uploads.py BASE KEY OTHER
"""

import sys

import openai

base, key, other = sys.argv[1:]
ours = openai.OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)
theirs = openai.OpenAI(base_url=base + "/v1", api_key=other, max_retries=0)
DATA = bytes(range(256)) * 1000


def refused(call):
    try:
        call()
    except openai.APIStatusError as error:
        body = error.body if isinstance(error.body, dict) else {}
        body = body.get("error") or body
        return f"{error.status_code} {body.get('message')}"
    return "nothing"


def begin(purpose="user_data"):
    return ours.uploads.create(bytes=len(DATA), filename="tides.bin", mime_type="application/pdf", purpose=purpose)


upload = ours.uploads.upload_file_chunked(
    file=DATA, filename="tides.bin", bytes=len(DATA), mime_type="application/pdf", purpose="user_data", part_size=100_000)
print("upload", upload.status, upload.file.filename, upload.id.startswith("upload_tg1"))
print("content", ours.files.content(upload.file.id).read() == DATA)
print("lists", [file.id for file in ours.files.list()] == [upload.file.id], len(list(theirs.files.list())))
print("not theirs", refused(lambda: theirs.files.content(upload.file.id)).replace(upload.file.id, "ID"))
part = {"type": "file", "file": {"file_id": upload.file.id}}
chat = ours.chat.completions.create(model="small", messages=[{"role": "user", "content": [part]}])
print("chat", chat.choices[0].message.content)
second = begin()
piece = ours.uploads.parts.create(second.id, data=b"one")
print("part", piece.upload_id == second.id, piece.id.startswith("part_tg1"))
print("not theirs", refused(lambda: theirs.uploads.parts.create(second.id, data=b"x")).replace(second.id, "ID"))
print("not theirs", refused(lambda: theirs.uploads.complete(second.id, part_ids=[])).replace(second.id, "ID"))
print("no part", refused(lambda: ours.uploads.complete(second.id, part_ids=[piece.id, "part_raw1"])))
print("too large", refused(lambda: ours.uploads.parts.create(second.id, data=b"x" * 300_000)))
print("cancelled", ours.uploads.cancel(second.id).status)
print("batch", refused(lambda: begin("batch")))
