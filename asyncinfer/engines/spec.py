"""The description of an engine, from which another process builds an equal one."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, cast

from pydantic import BaseModel

from asyncinfer.config import InferenceConfig
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.engines.registry import ENGINES, build_engine, provider_class, provider_of, with_replicas
from asyncinfer.errors import ConfigError
from asyncinfer.providers.provider import Provider


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """The picklable description of an engine: its name, its parameters and, if needed, its provider or its class.

    Get it from an engine with `engine.spec`, or make it from a configuration. `build` makes an equal engine in any
    process, also in one that was started with the `spawn` method. It does not register names there.

    The pickle contains `remote_params.api_key` and the credentials in URLs, if they are set: protect it like a key. The
    repr shows no secrets. Keys and credentials that an engine reads from environment variables or files are not part of
    it; the other process needs them too.

    Args:
        engine: The name of the engine in configurations.
        config: The parameters of the engine: `model`, `generation`, `remote_params` and `distributed`. `build` ignores
            other settings.
        provider: The provider, if it is not in the catalog.
        engine_class: The engine class, if the other process cannot find it by its name. It must have the constructor of
            `BaseInferenceEngine`, and be importable in the other process.
    """

    engine: str
    config: InferenceConfig
    provider: Provider | None = None
    engine_class: type[BaseInferenceEngine] | None = None

    def build(self) -> BaseInferenceEngine:
        """Build the engine.

        Raises:
            ConfigError: No engine has this name, or a parameter is wrong.
            MissingDependencyError: A package that the engine needs is not installed.
        """
        kind = self.engine_class
        if self.provider is not None:
            kind = provider_class(self.provider)
        config = self.config
        if kind is None:
            name = InferenceConfig(engine=self.engine).engine  # Validates the name, and accepts its aliases.
            return build_engine(config.model_copy(update={"engine": name}))
        engine = kind(config.model, generation_params=config.generation, remote_params=config.remote_params)
        return with_replicas(engine, config)

    def __repr__(self) -> str:
        shown = "" if self.provider is None else f", provider={str(self.provider.name)!r}"
        shown += "" if self.engine_class is None else f", engine_class={self.engine_class.__qualname__}"
        return f"EngineSpec(engine={str(self.engine)!r}, config={self.config!r}{shown})"

    def __reduce__(self) -> tuple[type[EngineSpec], tuple[object, ...]]:
        """Return what is pickled.

        Raises:
            ConfigError: A part cannot be pickled. The message names each such part.
        """
        parts = {"config": self.config, "provider": self.provider, "engine_class": self.engine_class}
        found = [problem for name, part in parts.items() for problem in _unpicklable(name, part)]
        if found:
            raise ConfigError(
                "this engine cannot be built in another process:\n  "
                + "\n  ".join(problem.removeprefix("config.") for problem in found)
                + "\nUse values, and functions and classes that are defined at the top level of a module."
            )
        return EngineSpec, (self.engine, self.config, self.provider, self.engine_class)


def spec_of(engine: type[BaseInferenceEngine], config: InferenceConfig) -> EngineSpec:
    """Return the spec of an engine of this class with these parameters."""
    name = engine.engine_type
    config = config.model_copy(update={"engine": name})
    if (provider := provider_of(engine)) is not None:
        return EngineSpec(name, config, provider=provider)
    by_name = ENGINES[name].load() is engine if name in ENGINES else False
    return EngineSpec(name, config, engine_class=None if by_name else engine)


def _unpicklable(place: str, value: object) -> Iterator[str]:
    """Yield a line for each innermost part that cannot be pickled. The lines do not contain the values."""
    if _can_be_pickled(value):
        return
    found = False
    for name, part in _parts(value):
        for problem in _unpicklable(f"{place}.{name}", part):
            found = True
            yield problem
    if not found:
        yield f"{place}: a value of type {_type_name(value)} cannot be pickled"


def _can_be_pickled(value: object) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # `__reduce__` of any class may raise anything.
        return False
    return True


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """Yield the names and values of the parts of a value."""
    if isinstance(value, BaseModel):
        yield from ((name, getattr(value, name)) for name in type(value).model_fields)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from ((field.name, getattr(value, field.name)) for field in fields(value))
    elif isinstance(value, Mapping):
        yield from ((str(key), part) for key, part in cast(Mapping[Any, object], value).items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((str(index), part) for index, part in enumerate(cast(list[object], value)))


def _type_name(value: object) -> str:
    kind = cast(type[object], value) if isinstance(value, type) else type(value)
    return kind.__qualname__
