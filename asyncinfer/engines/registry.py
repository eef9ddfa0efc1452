"""Which engine class answers for which name. Classes load when they are asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec

from asyncinfer.config import InferenceConfig, InferenceEngineType
from asyncinfer.config.engine_type import ENTRY_POINTS, add_engine_name, is_builtin
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.errors import ConfigError
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.providers.provider import Provider


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """One engine: its class as `module:name`, the extra that installs what it needs, and a module by which
    that is recognised.
    """

    name: str
    class_path: str
    extra: str | None = None
    requires: str | None = None

    def installed(self) -> bool:
        try:
            return self.requires is None or find_spec(self.requires) is not None
        except ModuleNotFoundError:  # nor is the package that it is in
            return False

    def load(self) -> type[BaseInferenceEngine]:
        module, _, name = self.class_path.partition(":")
        return getattr(import_module(module), name)


ENGINES: dict[str, EngineEntry] = {
    entry.name: entry
    for entry in (
        EngineEntry(
            InferenceEngineType.LLAMACPP,
            "asyncinfer.engines.local.llama_cpp.engine:LlamaCppInferenceEngine",
            extra="llamacpp",
            requires="llama_cpp",
        ),
        EngineEntry(
            InferenceEngineType.NATIVE,
            "asyncinfer.engines.local.transformers.engine:NativeTextInferenceEngine",
            extra="native",
            requires="transformers",
        ),
        EngineEntry(InferenceEngineType.REMOTE, "asyncinfer.engines.remote:RemoteInferenceEngine"),
        EngineEntry(InferenceEngineType.REMOTE_VLLM, "asyncinfer.engines.hosted:RemoteVLLMInferenceEngine"),
        EngineEntry(
            InferenceEngineType.VLLM,
            "asyncinfer.engines.local.vllm.engine:VLLMInferenceEngine",
            "vllm",
            requires="vllm",
        ),
        EngineEntry(InferenceEngineType.ANTHROPIC, "asyncinfer.engines.hosted:AnthropicInferenceEngine"),
        EngineEntry(InferenceEngineType.OPENAI, "asyncinfer.engines.hosted:OpenAIInferenceEngine"),
        EngineEntry(
            InferenceEngineType.BEDROCK,
            "asyncinfer.engines.hosted:BedrockInferenceEngine",
            extra="bedrock",
            requires="botocore",
        ),
        EngineEntry(InferenceEngineType.SGLANG, "asyncinfer.engines.hosted:SGLangInferenceEngine"),
        EngineEntry(InferenceEngineType.DEEPSEEK, "asyncinfer.engines.hosted:DeepSeekInferenceEngine"),
        EngineEntry(InferenceEngineType.FIREWORKS, "asyncinfer.engines.hosted:FireworksInferenceEngine"),
        EngineEntry(InferenceEngineType.PARASAIL, "asyncinfer.engines.hosted:ParasailInferenceEngine"),
        EngineEntry(InferenceEngineType.TOGETHER, "asyncinfer.engines.hosted:TogetherInferenceEngine"),
        EngineEntry(InferenceEngineType.OPENROUTER, "asyncinfer.engines.hosted:OpenRouterInferenceEngine"),
        EngineEntry(InferenceEngineType.SAMBANOVA, "asyncinfer.engines.hosted:SambanovaInferenceEngine"),
        EngineEntry(InferenceEngineType.CEREBRAS, "asyncinfer.engines.hosted:CerebrasInferenceEngine"),
        EngineEntry(
            InferenceEngineType.HUGGING_FACE_ROUTER, "asyncinfer.engines.hosted:HuggingFaceRouterInferenceEngine"
        ),
        EngineEntry(InferenceEngineType.GOOGLE_GEMINI, "asyncinfer.engines.hosted:GoogleGeminiInferenceEngine"),
        EngineEntry(
            InferenceEngineType.GOOGLE_VERTEX,
            "asyncinfer.engines.hosted:GoogleVertexInferenceEngine",
            extra="vertex",
            requires="google.auth",
        ),
    )
}


def build_engine(config: InferenceConfig) -> BaseInferenceEngine:
    """The engine that `config` names, with its parameters.

    Raises:
        ConfigError: no engine is named, or this version does not have it.
        MissingDependencyError: what it needs is not installed.
    """
    known = ", ".join(ENGINES)
    if config.engine is None:
        raise ConfigError(f"engine: not set; this version has: {known}")
    kind = engine_class(config.engine)
    if kind is None:
        raise ConfigError(f"engine: {config.engine} is not available in this version; it has: {known}")
    return kind(config.model, generation_params=config.generation, remote_params=config.remote_params)


def register_engine(name: str, engine: type[BaseInferenceEngine]) -> None:
    """Have `engine: NAME` in a configuration mean this class. A package does the same for all who install it by an
    entry point in the group `asyncinfer.engines`: `NAME = "module:Class"`.

    Raises:
        ConfigError: there is an engine of that name, or it is none.
    """
    name = _free(name)
    add_engine_name(name)
    _registered[name] = engine


def register_provider(provider: Provider) -> type[BaseInferenceEngine]:
    """Have `engine: NAME` in a configuration mean this provider, and get its class. Raises as `register_engine`."""
    from asyncinfer.engines.remote import RemoteInferenceEngine

    name = _free(provider.name)
    CATALOG[name] = provider
    kind = type(f"{name.title()}InferenceEngine", (RemoteInferenceEngine,), {"engine_type": name})
    register_engine(name, kind)
    return kind


def _free(name: str) -> str:
    """The name as configurations are read."""
    name = name.upper()
    if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
        raise ConfigError(f"an engine's name has letters, digits and underscores (found {name!r})")
    if name in _registered or is_builtin(name):
        raise ConfigError(f"{name}: there is an engine of that name")
    return name


_registered: dict[str, type[BaseInferenceEngine]] = {}


def engine_class(name: str) -> type[BaseInferenceEngine] | None:
    """The class of that name: ours, one that was registered, or one that a package brings."""
    if (entry := ENGINES.get(name)) is not None:
        return entry.load()
    if (kind := _registered.get(name)) is not None:
        return kind
    brought = next((point for point in entry_points(group=ENTRY_POINTS) if point.name.upper() == name), None)
    return brought.load() if brought is not None else None
