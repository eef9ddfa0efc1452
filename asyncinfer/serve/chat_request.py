"""Reads a request to `/v1/chat/completions`.

Source: OpenAI's API reference ("Create chat completion") and openai-python 3.57, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from asyncinfer.serve.answer_settings import AnswerSettings, SettingsReader
from asyncinfer.serve.api_errors import bad_request
from asyncinfer.serve.conversation_policy import read_conversation
from asyncinfer.serve.request_fields import boolean_field, object_field, string_field
from asyncinfer.serve.settings import ServerSettings
from asyncinfer.types.conversation import Conversation

# Fields that would change the answer in a way that no engine supports.
_UNSUPPORTED = {
    "audio": "is not supported",
    "function_call": "is deprecated; use tool_choice",
    "functions": "is deprecated; use tools",
    "web_search_options": "is not supported",
}


class ChatRequest(NamedTuple):
    """A request to `/v1/chat/completions`.

    Args:
        model: The name of the model; None if the request names none.
        conversation: The messages and the tools.
        settings: The settings of the answers.
        choices: How many answers are requested.
        stream: Whether the answers are streamed.
        include_usage: Whether the stream ends with the usage.
    """

    model: str | None
    conversation: Conversation
    settings: AnswerSettings
    choices: int = 1
    stream: bool = False
    include_usage: bool = False

    @property
    def logprobs(self) -> bool:
        """Whether log probabilities are requested."""
        return self.settings.generation.logprobs

    def settings_of(self, choice: int) -> AnswerSettings:
        """Return the settings of one choice. With a seed, each choice has its own, so that they differ."""
        seed = self.settings.generation.seed
        return self.settings if seed is None or not choice else self.settings.with_seed(seed + choice)


async def read_chat_request(
    fields: Mapping[str, Any], server: ServerSettings, read_settings: SettingsReader
) -> ChatRequest:
    """Return the request that the fields describe.

    Raises:
        ApiError: A field has a wrong value, or one that requests may not set.
    """
    for name, problem in _UNSUPPORTED.items():
        if fields.get(name) is not None:
            raise bad_request(f"{name}: {problem}.", name)
    modalities = fields.get("modalities")
    if modalities is not None and modalities != ["text"]:
        raise bad_request('modalities: only ["text"] is supported.', "modalities")
    stream = boolean_field(fields, "stream")
    return ChatRequest(
        string_field(fields, "model"),
        await read_conversation(fields.get("messages"), fields.get("tools"), server),
        read_settings(fields),
        _choices(fields.get("n"), server.max_choices),
        stream,
        stream and boolean_field(object_field(fields, "stream_options"), "include_usage"),
    )


def _choices(given: Any, limit: int) -> int:
    if given is None:
        return 1
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= limit:
        raise bad_request(f"n: should be an integer from 1 to {limit}.", "n")
    return given
