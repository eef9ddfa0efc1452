"""Recognises a prompt that does not fit into the context of a model, by the text of the error.

Only some APIs have a code for it, which is not part of an engine's error.
"""

from __future__ import annotations

from asyncinfer.errors import EngineDeadError, RequestError

# What the errors say, in lower case. From the error references of the APIs and the code of the servers, November 2026.
_PHRASES = (
    "context length",  # OpenAI, vLLM, SGLang, Together
    "context window",  # OpenAI's Responses API
    "context size",  # llama.cpp's server
    "prompt is too long",  # Anthropic
    "input is too long",  # Bedrock
    "input token count",  # Gemini
    "reduce the length of the messages",  # Cerebras, Groq
    "the context holds",  # engines in this process
)
# Together answers 403. None: the engine runs in this process.
_STATUSES = frozenset({None, 400, 403, 413, 422})


def is_context_overflow(error: RequestError | EngineDeadError) -> bool:
    """Return whether an engine's error says that the prompt is too long for the model."""
    text = str(error).lower()
    return error.status_code in _STATUSES and any(phrase in text for phrase in _PHRASES)
