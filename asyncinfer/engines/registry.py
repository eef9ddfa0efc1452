"""Finds the engine class for a name: an engine of this package, a registered one, or one from an entry point.

The entries of the providers are made from the rows of the catalog. Engine classes are imported when they are needed.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec

from asyncinfer.config import GenerationParams, InferenceConfig, InferenceEngineType, ModelParams, RemoteParams
from asyncinfer.config.engine_type import ENTRY_POINTS, add_engine_name, is_builtin
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.errors import ConfigError
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.providers.provider import Provider

log = logging.getLogger("asyncinfer")


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """One engine of this package.

    Args:
        name: The name of the engine in configurations.
        class_path: The engine class, as `module:name`.
        extra: The extra that installs the packages that the engine needs.
        requires: The module that is importable if the extra is installed.
    """

    name: str
    class_path: str
    extra: str | None = None
    requires: str | None = None

    def installed(self) -> bool:
        """Return whether the packages that the engine needs are installed."""
        try:
            return self.requires is None or find_spec(self.requires) is not None
        except ModuleNotFoundError:  # The parent package of `requires` is not installed.
            return False

    def load(self) -> type[BaseInferenceEngine]:
        """Import the engine class."""
        module, _, name = self.class_path.partition(":")
        return getattr(import_module(module), name)


_LOCAL = "asyncinfer.engines.local"
_LOCAL_ENGINES = (
    EngineEntry(
        InferenceEngineType.LLAMACPP, f"{_LOCAL}.llama_cpp.engine:LlamaCppInferenceEngine", "llamacpp", "llama_cpp"
    ),
    EngineEntry(
        InferenceEngineType.NATIVE, f"{_LOCAL}.transformers.engine:NativeTextInferenceEngine", "native", "transformers"
    ),
    EngineEntry(InferenceEngineType.VLLM, f"{_LOCAL}.vllm.engine:VLLMInferenceEngine", "vllm", "vllm"),
)


def _provider_entry(provider: Provider) -> EngineEntry:
    class_path = f"asyncinfer.engines.hosted:{provider.class_name}"
    return EngineEntry(provider.name, class_path, provider.extra, provider.requires)


ENGINES: dict[str, EngineEntry] = {
    entry.name: entry for entry in (*_LOCAL_ENGINES, *map(_provider_entry, CATALOG.values()))
}
# The module of each engine class, for the exports of `asyncinfer`.
CLASS_MODULES: dict[str, str] = {
    name: module for module, _, name in (entry.class_path.partition(":") for entry in ENGINES.values())
}

_registered: dict[str, type[BaseInferenceEngine]] = {}
# The providers for which `provider_class` made a class.
_providers: dict[type[BaseInferenceEngine], Provider] = {}


def build_engine(config: InferenceConfig) -> BaseInferenceEngine:
    """Build the engine that `config` names, with the parameters in `config`. If it names none, NATIVE, as in Oumi.

    With `distributed`, a `DistributedInferenceEngine` that has replicas of it.

    Raises:
        ConfigError: This version does not have the engine.
        MissingDependencyError: A package that the engine needs is not installed.
    """
    name = config.engine
    if name is None:
        name = InferenceEngineType.NATIVE
        log.warning("engine: not set, so NATIVE (Transformers in this process) is used")
    kind = engine_class(name)
    if kind is None:
        raise ConfigError(f"engine: {name} is not available in this version; it has: {', '.join(ENGINES)}")
    engine = kind(config.model, generation_params=config.generation, remote_params=config.remote_params)
    engine = with_replicas(engine, config)
    if config.telemetry is not None:
        engine.instrument(capture_content=config.telemetry.capture_content)
    return engine


def with_replicas(engine: BaseInferenceEngine, config: InferenceConfig) -> BaseInferenceEngine:
    """Return an engine that answers with replicas of `engine`, if `config` asks for that; otherwise `engine` itself.

    Raises:
        ConfigError: The engine cannot be built in another process.
        MissingDependencyError: Ray is not installed.
    """
    if config.distributed is None:
        return engine
    from asyncinfer.engines.distributed import DistributedInferenceEngine

    return DistributedInferenceEngine(engine, config.distributed)


def get_engine(config: InferenceConfig) -> BaseInferenceEngine:
    """Build the engine that `config` names. This is `build_engine`, by its name in Oumi."""
    return build_engine(config)


def build_inference_engine(
    engine_type: InferenceEngineType | str,
    model_params: ModelParams,
    remote_params: RemoteParams | None = None,
    generation_params: GenerationParams | None = None,
) -> BaseInferenceEngine:
    """Build an engine by its name. `build_engine` does the same from a configuration.

    Raises:
        ConfigError: There is no such engine.
        MissingDependencyError: A package that the engine needs is not installed.
    """
    generation = generation_params or GenerationParams()
    config = InferenceConfig(model_params, generation, engine=engine_type, remote_params=remote_params)
    return build_engine(config)


def register_engine(name: str, engine: type[BaseInferenceEngine]) -> None:
    """Make `engine: NAME` in a configuration name this class.

    A package can register an engine for everyone who installs it, with an entry point in the group
    `asyncinfer.engines`: `NAME = "module:Class"`.

    Raises:
        ConfigError: The name is already used, or it is not valid.
    """
    name = _unused_name(name)
    add_engine_name(name)
    _registered[name] = engine


def register_provider(provider: Provider) -> type[BaseInferenceEngine]:
    """Make `engine: NAME` in a configuration name this provider, and return its engine class.

    Raises:
        ConfigError: The name is already used, or it is not valid.
    """
    name = _unused_name(provider.name)
    kind = provider_class(provider)
    register_engine(name, kind)
    return kind


def engine_class(name: str) -> type[BaseInferenceEngine] | None:
    """Return the engine class for a name; None if no engine has this name."""
    if (entry := ENGINES.get(name)) is not None:
        return entry.load()
    if (kind := _registered.get(name)) is not None:
        return kind
    found = plugins().get(name)
    return found.load() if found is not None else None


def plugins() -> dict[str, EntryPoint]:
    """Return the entry points with which other packages add engines, by the name of the engine."""
    found = reversed(tuple(entry_points(group=ENTRY_POINTS)))  # The first one of a name counts.
    return {point.name.upper(): point for point in found}


def provider_class(provider: Provider) -> type[BaseInferenceEngine]:
    """Return the engine class for a provider that is not in the catalog. Equal providers have the same class."""
    from asyncinfer.engines.remote import RemoteInferenceEngine

    for kind, known in _providers.items():
        if known == provider:
            return kind
    name, its_provider = provider.name.upper(), provider

    class ProviderEngine(RemoteInferenceEngine):
        """The engine of a provider that is not in the catalog."""

        engine_type = name

        @classmethod
        def provider(cls) -> Provider:
            return its_provider

    ProviderEngine.__name__ = ProviderEngine.__qualname__ = provider.class_name
    _providers[ProviderEngine] = provider
    return ProviderEngine


def provider_of(engine: type[BaseInferenceEngine]) -> Provider | None:
    """Return the provider for which `provider_class` made this class; None for other classes."""
    return _providers.get(engine)


def _unused_name(name: str) -> str:
    """Return the name in upper case, as it is in configurations.

    Raises:
        ConfigError: The name is already used, or it is not valid.
    """
    name = name.upper()
    if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
        raise ConfigError(f"an engine's name has letters, digits and underscores (found {name!r})")
    if name in _registered or is_builtin(name):
        raise ConfigError(f"{name}: there is an engine of that name")
    return name
