"""One question through LangChain (OpenAI's and Anthropic's dialects) and one through LlamaIndex, whole and streamed.

usage: frameworks.py BASE KEY MODEL
"""

import sys

from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

base, key, model = sys.argv[1:]


@tool
def get_tide(port: str) -> str:
    """The tide at a port."""
    return port


def langchain(name, chat):
    answer = chat.invoke("case: text")
    print(name, "text", answer.text, answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"])
    print(name, "stream", "".join(chunk.text for chunk in chat.stream("case: text")))
    calls = chat.bind_tools([get_tide]).invoke("case: tools").tool_calls
    print(name, "tools", [(call["name"], call["args"]) for call in calls])


langchain("langchain-openai", ChatOpenAI(base_url=base + "/v1", api_key=key, model=model, max_retries=0))
langchain("langchain-anthropic", ChatAnthropic(base_url=base, api_key=key, model=model, max_retries=0, max_tokens=100))
index = OpenAILike(api_base=base + "/v1", api_key=key, model=model, is_chat_model=True, max_retries=0)
asked = [ChatMessage(role="user", content="case: text")]
print("llama-index text", index.chat(asked).message.content)
print("llama-index stream", "".join(chunk.delta or "" for chunk in index.stream_chat(asked)))
