"""The providers, a row of data each."""

from __future__ import annotations

from dataclasses import dataclass, field

from asyncinfer.config import InferenceEngineType
from asyncinfer.dialects.openai_chat import Quirks

_OPENAI_PARAMS = frozenset(
    {
        "frequency_penalty",
        "guided_decoding",
        "logit_bias",
        "max_new_tokens",
        "parallel_tool_calls",
        "presence_penalty",
        "seed",
        "stop_strings",
        "temperature",
        "tool_choice",
        "top_p",
    }
)


@dataclass(frozen=True, slots=True)
class Provider:
    """Where an API is, which key it wants, and how it differs from the others that speak its dialect.

    `url` is None where the user says where it is. `key_variable` is the environment variable that holds the
    key; without one, a key is sent only if the user sets it. `not_chat`: how the names of models begin that
    cannot chat.
    """

    name: InferenceEngineType
    url: str | None = None
    key_variable: str | None = None
    quirks: Quirks = field(default_factory=Quirks)
    not_chat: tuple[str, ...] = ()

    @property
    def supported(self) -> frozenset[str]:
        """The generation parameters that it heeds."""
        return _OPENAI_PARAMS | self.quirks.extensions


_VLLM = frozenset({"min_p", "skip_special_tokens", "stop_token_ids"})

CATALOG: dict[InferenceEngineType, Provider] = {
    provider.name: provider
    for provider in (
        Provider(
            InferenceEngineType.REMOTE,
            quirks=Quirks(extensions=frozenset({"min_p", "stop_token_ids"}), schemas_may_be_old=True),
        ),
        Provider(
            InferenceEngineType.REMOTE_VLLM,
            quirks=Quirks(extensions=_VLLM, structured_outputs=True, adapters=True),
        ),
        Provider(
            InferenceEngineType.OPENAI,
            "https://api.openai.com/v1/chat/completions",
            "OPENAI_API_KEY",
            Quirks(token_limit="max_completion_tokens", reasoning_models=("o1", "o3", "o4", "gpt-5")),
            not_chat=(
                "babbage-",
                "dall-e-",
                "davinci-",
                "gpt-image-",
                "omni-moderation-",
                "sora-",
                "text-embedding-",
                "tts-",
                "whisper-",
            ),
        ),
    )
}
