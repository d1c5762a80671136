"""Uses what OpenAI's Responses keep through its SDK, and prints what it understood.

usage: stored.py BASE KEY STRANGERS_KEY
"""

import sys

from openai import BadRequestError, NotFoundError, OpenAI

base, key, strangers = sys.argv[1:]
client = OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)
stranger = OpenAI(base_url=base + "/v1", api_key=strangers, max_retries=0)


def refused(what, call):
    try:
        call()
    except (NotFoundError, BadRequestError) as error:
        print(what, error.status_code)
    else:
        print(what, "was let in")


first = client.responses.create(model="smart", input="high water?")
print("created", first.output_text, first.id.startswith("resp_tg1"))
same = client.responses.retrieve(first.id)
print("retrieved", same.id == first.id, same.output_text)
print("items", [item.id for item in client.responses.input_items.list(first.id, limit=5).data])
second = client.responses.create(model="smart", input="and low?", previous_response_id=first.id)
print("next", second.previous_response_id == first.id, second.output_text)
with client.responses.stream(model="smart", input="again", previous_response_id=second.id) as stream:
    events = list(stream)
    third = stream.get_final_response()
created = next(event.response.id for event in events if event.type == "response.created")
print("streamed", created == third.id, third.previous_response_id == second.id, third.output_text)
print("streamed is kept", client.responses.retrieve(third.id).id == third.id)
later = client.responses.create(model="smart", input="later", background=True)
print("later", later.status, client.responses.cancel(later.id).status)

talk = client.conversations.create(items=[{"type": "message", "role": "user", "content": "hello"}])
print("talk", talk.id.startswith("conv_tg1"), client.conversations.retrieve(talk.id).id == talk.id)
print("talk's items", len(client.conversations.items.list(talk.id).data))
item = client.conversations.items.create(talk.id, items=[{"type": "message", "role": "user", "content": "x"}])
print("added", item.data[0].id, client.conversations.items.retrieve(item.data[0].id, conversation_id=talk.id).id)
print("updated", client.conversations.update(talk.id, metadata={"a": "b"}).metadata)
in_talk = client.responses.create(model="smart", input="in it", conversation=talk.id)
print("in talk", in_talk.conversation.id == talk.id, in_talk.output_text)

refused("stranger's answer", lambda: stranger.responses.retrieve(first.id))
refused("stranger's items", lambda: stranger.responses.input_items.list(first.id))
refused("stranger deletes", lambda: stranger.responses.delete(first.id))
refused("stranger cancels", lambda: stranger.responses.cancel(later.id))
refused("stranger goes on", lambda: stranger.responses.create(model="smart", input="x", previous_response_id=first.id))
refused("stranger's talk", lambda: stranger.conversations.retrieve(talk.id))
refused("stranger joins", lambda: stranger.responses.create(model="smart", input="x", conversation=talk.id))
refused("the provider's own id", lambda: client.responses.retrieve("resp_1"))
refused("the provider's own before", lambda: client.responses.create(model="smart", input="x", previous_response_id="resp_1"))

client.responses.delete(first.id)
refused("deleted", lambda: client.responses.retrieve(first.id))
print("talk deleted", client.conversations.delete(talk.id).deleted)
