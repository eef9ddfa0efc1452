"""A program that asks a server through LiteLLM, and prints the answers as JSON: `python litellm_client.py URL`."""

from __future__ import annotations

import json
import sys
from typing import Any

import litellm
from litellm.exceptions import NotFoundError

ASK: Any = {
    "model": "openai/my-model",
    "messages": [{"role": "user", "content": "Hi"}],
    "api_base": sys.argv[1],
    "api_key": "none",
    "num_retries": 0,
}
WEATHER: Any = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


def main() -> None:
    whole: Any = litellm.completion(**ASK)
    stream: Any = litellm.completion(**ASK, stream=True, stream_options={"include_usage": True})
    chunks: list[Any] = list(stream)
    rebuilt: Any = litellm.stream_chunk_builder(chunks)
    called: Any = litellm.completion(**ASK, tools=[WEATHER], stream=True)
    calls: Any = litellm.stream_chunk_builder(list(called))
    answers = {
        "whole": whole.choices[0].message.content,
        "usage": whole.usage.total_tokens,
        "streamed": rebuilt.choices[0].message.content,
        "streamed_usage": rebuilt.usage.total_tokens,
        "arguments": calls.choices[0].message.tool_calls[0].function.arguments,
        "responses": litellm.responses(
            model="openai/my-model", input="Hi", api_base=sys.argv[1], api_key="none"
        ).output_text,
    }
    try:
        litellm.completion(**{**ASK, "model": "openai/unknown"})
    except NotFoundError:
        answers["unknown"] = "not found"
    print(json.dumps(answers))


main()
