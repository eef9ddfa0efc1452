"""The engines' names."""

from __future__ import annotations

from difflib import get_close_matches
from enum import StrEnum
from importlib.metadata import entry_points
from typing import Annotated, Any

from pydantic import BeforeValidator


class InferenceEngineType(StrEnum):
    """Which engine runs the model. Any case is accepted, and so are the aliases below."""

    NATIVE = "NATIVE"
    """Transformers, in this process."""
    VLLM = "VLLM"
    """vLLM, in this process."""
    REMOTE_VLLM = "REMOTE_VLLM"
    """A vLLM server that someone else started."""
    SGLANG = "SGLANG"
    """An SGLang server that someone else started."""
    LLAMACPP = "LLAMACPP"
    """llama.cpp, in this process."""
    REMOTE = "REMOTE"
    """Any API that speaks OpenAI's chat format, at `remote_params.api_url`."""
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
    """Hugging Face's router to its inference providers."""

    @classmethod
    def _missing_(cls, value: object) -> InferenceEngineType | None:
        name = str(value).strip().upper().replace("-", "_")
        return cls.__members__.get(_ALIASES.get(name, name))


_ALIASES = {"GEMINI": "GOOGLE_GEMINI", "VERTEX": "GOOGLE_VERTEX", "LLAMA_CPP": "LLAMACPP"}


# Other packages bring engines under this group of entry points: `NAME = "module:Class"`.
ENTRY_POINTS = "asyncinfer.engines"
_announced: set[str] = set()


def is_known(name: str) -> bool:
    """Whether one of our own engines has this name, or goes by it."""
    try:
        return bool(InferenceEngineType(name))
    except ValueError:
        return False


def announce(name: str) -> None:
    """From now on, `name` is an engine's name, in any case."""
    _announced.add(name.upper())


def _engine(name: Any) -> str:
    try:
        return InferenceEngineType(name)
    except ValueError:
        others = sorted(_announced | {point.name.upper() for point in entry_points(group=ENTRY_POINTS)})
    given = str(name).strip().upper()
    if given in others:
        return given
    names = [*InferenceEngineType.__members__, *others]
    close = get_close_matches(given, names, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"should be one of {', '.join(names)}{meant}")


EngineName = Annotated[InferenceEngineType | str, BeforeValidator(_engine)]
