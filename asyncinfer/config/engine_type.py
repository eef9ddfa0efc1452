"""The names of the engines."""

from __future__ import annotations

from difflib import get_close_matches
from enum import StrEnum
from importlib.metadata import entry_points
from typing import Annotated, Any

from pydantic import BeforeValidator


class InferenceEngineType(StrEnum):
    """Which engine runs the model. Names are accepted in any case; `_ALIASES` lists other accepted names."""

    NATIVE = "NATIVE"
    """Transformers, in this process."""
    VLLM = "VLLM"
    """vLLM, in this process."""
    REMOTE_VLLM = "REMOTE_VLLM"
    """A running vLLM server."""
    SGLANG = "SGLANG"
    """A running SGLang server."""
    LLAMACPP = "LLAMACPP"
    """llama.cpp, in this process."""
    REMOTE = "REMOTE"
    """Any API with OpenAI's chat format, at `remote_params.api_url`."""
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
    AZURE_OPENAI = "AZURE_OPENAI"
    """Azure OpenAI, and the models of Microsoft Foundry that have its API."""
    MISTRAL = "MISTRAL"
    GROQ = "GROQ"
    XAI = "XAI"
    NEBIUS = "NEBIUS"
    """Nebius Token Factory."""
    OLLAMA = "OLLAMA"
    """A running Ollama server."""
    LM_STUDIO = "LM_STUDIO"
    """The server of a running LM Studio."""
    REMOTE_LLAMACPP = "REMOTE_LLAMACPP"
    """A running server of llama.cpp, `llama-server`."""

    @classmethod
    def _missing_(cls, value: object) -> InferenceEngineType | None:
        name = str(value).strip().upper().replace("-", "_")
        return cls.__members__.get(_ALIASES.get(name, name))


_ALIASES = {
    "AZURE": "AZURE_OPENAI",
    "GEMINI": "GOOGLE_GEMINI",
    "LLAMA_CPP": "LLAMACPP",
    "LLAMA_SERVER": "REMOTE_LLAMACPP",
    "LMSTUDIO": "LM_STUDIO",
    "VERTEX": "GOOGLE_VERTEX",
}


# Other packages add engines with entry points of this group: `NAME = "module:Class"`.
ENTRY_POINTS = "asyncinfer.engines"
_added: set[str] = set()


def is_builtin(name: str) -> bool:
    """Whether this is a name or an alias of an engine in this package."""
    try:
        return bool(InferenceEngineType(name))
    except ValueError:
        return False


def add_engine_name(name: str) -> None:
    """Accept `name`, in any case, as the name of an engine."""
    _added.add(name.upper())


def config_name(name: str) -> str:
    """Return the name as configurations contain it: `GOOGLE_GEMINI`, although the value of that member is `GEMINI`."""
    return name.name if isinstance(name, InferenceEngineType) else name


def engine_names() -> list[str]:
    """Return the names of all engines, as configurations contain them: first those of this package."""
    return [*InferenceEngineType.__members__, *_other_names()]


def _other_names() -> list[str]:
    return sorted(_added | {point.name.upper() for point in entry_points(group=ENTRY_POINTS)})


def _engine(name: Any) -> str:
    try:
        return InferenceEngineType(name)
    except ValueError:
        given = str(name).strip().upper()
    if given in _other_names():
        return given
    names = engine_names()
    close = get_close_matches(given, names, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"should be one of {', '.join(names)}{meant}")


EngineName = Annotated[InferenceEngineType | str, BeforeValidator(_engine)]
