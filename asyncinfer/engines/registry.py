"""Which engine class answers for which name. Classes load when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from asyncinfer.config import InferenceConfig, InferenceEngineType
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.errors import ConfigError


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """One engine: its class as `module:name`, the extra that installs what it needs, and a module by which
    that is recognised.
    """

    name: InferenceEngineType
    class_path: str
    extra: str | None = None
    requires: str | None = None

    def installed(self) -> bool:
        return self.requires is None or find_spec(self.requires) is not None

    def load(self) -> type[BaseInferenceEngine]:
        module, _, name = self.class_path.partition(":")
        return getattr(import_module(module), name)


ENGINES: dict[InferenceEngineType, EngineEntry] = {
    entry.name: entry
    for entry in (
        EngineEntry(
            InferenceEngineType.LLAMACPP,
            "asyncinfer.engines.llama_cpp:LlamaCppInferenceEngine",
            extra="llamacpp",
            requires="llama_cpp",
        ),
        EngineEntry(InferenceEngineType.REMOTE, "asyncinfer.engines.remote:RemoteInferenceEngine"),
        EngineEntry(InferenceEngineType.REMOTE_VLLM, "asyncinfer.engines.hosted:RemoteVLLMInferenceEngine"),
        EngineEntry(InferenceEngineType.OPENAI, "asyncinfer.engines.hosted:OpenAIInferenceEngine"),
        EngineEntry(
            InferenceEngineType.BEDROCK,
            "asyncinfer.engines.hosted:BedrockInferenceEngine",
            extra="bedrock",
            requires="botocore",
        ),
    )
}


def build_engine(config: InferenceConfig) -> BaseInferenceEngine:
    """The engine that `config` names, with its parameters.

    Raises:
        ConfigError: no engine is named, or this version does not have it.
        MissingDependencyError: what it needs is not installed.
    """
    known = ", ".join(name.name for name in ENGINES)
    if config.engine is None:
        raise ConfigError(f"engine: not set; this version has: {known}")
    entry = ENGINES.get(config.engine)
    if entry is None:
        raise ConfigError(f"engine: {config.engine.name} is not available in this version; it has: {known}")
    return entry.load()(config.model, generation_params=config.generation, remote_params=config.remote_params)
