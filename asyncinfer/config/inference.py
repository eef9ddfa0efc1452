"""The whole configuration of a run, from a YAML file and dotted overrides."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError

from asyncinfer.config.base import Params
from asyncinfer.config.engine_type import InferenceEngineType
from asyncinfer.config.generation import GenerationParams
from asyncinfer.config.model import ModelParams
from asyncinfer.config.problems import explain
from asyncinfer.config.remote import RemoteParams
from asyncinfer.config.yaml import dump, interpolate, override, parse, read
from asyncinfer.errors import ConfigError


def _engine(name: Any) -> Any:
    try:
        return InferenceEngineType(name) if isinstance(name, str) else name
    except ValueError:
        raise ValueError(f"{name!r} is no engine; it is one of {', '.join(InferenceEngineType.__members__)}") from None


class InferenceConfig(Params):
    """Everything a run may be asked. Only what is set explicitly overrides an engine's own settings."""

    model: ModelParams = Field(default_factory=ModelParams)
    generation: GenerationParams = Field(default_factory=GenerationParams)
    input_path: str | None = None
    """A JSONL file, a conversation a line."""
    output_path: str | None = None
    progress_path: str | None = None
    """A JSON file that tells how far the run is, for others to poll."""
    engine: Annotated[InferenceEngineType, BeforeValidator(_engine)] | None = None
    remote_params: RemoteParams | None = None

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Iterable[str] = ()) -> Self:
        """The configuration in a YAML file, with `overrides` such as `generation.max_new_tokens=64` applied.

        Raises:
            ConfigError: all that is wrong, a line each, with file and dotted path.
        """
        return cls._from(read(Path(path)), str(path), overrides)

    @classmethod
    def from_str(cls, text: str, overrides: Iterable[str] = ()) -> Self:
        """As `from_yaml`, from YAML text."""
        return cls._from(text, "config", overrides)

    def to_yaml(self, path: str | Path) -> None:
        """Write what was set explicitly; secrets are left out."""
        data = self.model_dump(mode="json", exclude_unset=True, exclude={"remote_params": {"api_key"}})
        Path(path).write_text(dump(data), encoding="utf-8")

    @classmethod
    def _from(cls, text: str, where: str, overrides: Iterable[str]) -> Self:
        data = interpolate(override(parse(text, where), overrides), where)
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ConfigError(explain(error, cls, where)) from None
