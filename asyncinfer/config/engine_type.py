"""The engines' names."""

from __future__ import annotations

from enum import StrEnum


class InferenceEngineType(StrEnum):
    """Which engine runs the model. Any case is accepted, and the aliases below."""

    NATIVE = "NATIVE"
    VLLM = "VLLM"
    REMOTE_VLLM = "REMOTE_VLLM"
    SGLANG = "SGLANG"
    LLAMACPP = "LLAMACPP"
    REMOTE = "REMOTE"
    ANTHROPIC = "ANTHROPIC"
    GOOGLE_VERTEX = "GOOGLE_VERTEX"
    GOOGLE_GEMINI = "GEMINI"
    DEEPSEEK = "DEEPSEEK"
    FIREWORKS = "FIREWORKS"
    PARASAIL = "PARASAIL"
    TOGETHER = "TOGETHER"
    OPENAI = "OPENAI"
    OPENROUTER = "OPENROUTER"
    SAMBANOVA = "SAMBANOVA"
    BEDROCK = "BEDROCK"
    CEREBRAS = "CEREBRAS"
    HUGGING_FACE_ROUTER = "HUGGING_FACE_ROUTER"

    @classmethod
    def _missing_(cls, value: object) -> InferenceEngineType | None:
        name = str(value).upper()
        return cls.__members__.get(_ALIASES.get(name, name))


_ALIASES = {"GEMINI": "GOOGLE_GEMINI", "VERTEX": "GOOGLE_VERTEX", "LLAMA_CPP": "LLAMACPP"}
