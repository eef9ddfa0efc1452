"""The configuration of a run, from Python or from a YAML file with overrides."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BeforeValidator, Field, ValidationError

from asyncinfer.config.base import OptionalPath, Params
from asyncinfer.config.engine_type import EngineName
from asyncinfer.config.generation import GenerationParams
from asyncinfer.config.model import ModelParams
from asyncinfer.config.overrides import override
from asyncinfer.config.problems import Location, problems_in, value_at
from asyncinfer.config.remote import RemoteParams
from asyncinfer.config.variables import escaped, fill_in
from asyncinfer.config.yaml import dump, parse, read
from asyncinfer.errors import ConfigError
from asyncinfer.types.field_types import NONE
from asyncinfer.types.masking import masked_places, without_traceback
from asyncinfer.types.paths import os_error_text

C = TypeVar("C", bound="InferenceConfig")


def _empty_if_null(value: Any) -> Any:
    # A file may have `generation:` with every key below it commented out.
    return {} if value is None else value


Group = BeforeValidator(_empty_if_null)


class InferenceConfig(Params):
    """All settings of a run. Only settings that are set explicitly override those of the engine."""

    model: Annotated[ModelParams, Group] = Field(default_factory=ModelParams)
    generation: Annotated[GenerationParams, Group] = Field(default_factory=GenerationParams)
    input_path: OptionalPath = NONE
    """A JSONL file with one conversation per line."""
    output_path: OptionalPath = NONE
    """The JSONL file for the answered conversations, in input order."""
    reuse_output: bool = False
    """Take answers for these rows from the file at `output_path`, and send only the other rows."""
    progress_path: OptionalPath = NONE
    """A JSON file with the progress of the run, which other programs can read."""
    engine: EngineName | None = None
    """Which engine runs the model."""
    remote_params: RemoteParams | None = None

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Iterable[str] = ()) -> Self:
        """The configuration in a YAML file, with `overrides` such as `generation.max_new_tokens=64` applied.

        Raises:
            ConfigError: There are mistakes. The message has one line for each, with file and dotted path.
        """
        return _value_or_raise(cls._parsed(read(Path(path)), str(path), overrides))

    @classmethod
    def from_str(cls, text: str, overrides: Iterable[str] = ()) -> Self:
        """The configuration in a YAML text. As `from_yaml` otherwise."""
        parsed = cls._parsed(text, "config", overrides)
        del text
        return _value_or_raise(parsed)

    def to_yaml(self, path: str | Path) -> None:
        """Write the settings that are set explicitly, without the API key. Values of headers are masked, and so are
        credentials in the URL and in options.

        Raises:
            ConfigError: The file cannot be written.
        """
        secret = {"remote_params": {"api_key"}}
        data = self.model_dump(mode="json", exclude_unset=True, exclude=secret, fallback=str)
        try:
            Path(path).write_text(dump(escaped(data)), encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: cannot be written: {os_error_text(error)}") from None

    @classmethod
    def _parsed(cls, text: str, where: str, overrides: Iterable[str]) -> Self | ConfigError:
        """The configuration, or the error to raise. It is not raised here, because its traceback would show secrets."""
        try:
            written = parse(text, where)
            overridden = override(written, overrides)
        except ConfigError as error:
            return error
        data, problems = fill_in(overridden)
        problems |= _masked_values(data)
        try:
            config = cls.model_validate(data)
        except ValidationError as error:
            problems = problems_in(error, cls, overridden) | problems
        else:
            if not problems:
                return config
        lines = [_origin(place, written, overridden, where) + problem for place, problem in problems.items()]
        return ConfigError("\n".join(lines))


def _masked_values(data: dict[str, Any]) -> dict[Location, str]:
    """A message for each secret that `to_yaml` masked, except the URL, which the engine checks."""
    return {
        tuple(
            place.split(".")
        ): f"{place}: is masked, as in a saved configuration; put the value back, for instance as ${{VARIABLE}}"
        for place in masked_places(data)
        if place != "remote_params.api_url"
    }


def _value_or_raise(parsed: C | ConfigError) -> C:
    """Return the configuration, or raise the error without the frames that created it."""
    if isinstance(parsed, ConfigError):
        raise without_traceback(parsed)
    return parsed


def _origin(place: Location, written: Any, overridden: Any, where: str) -> str:
    """The beginning of a message about a value: the file, or the override that set it.

    A value that no override has changed is the same object in both trees.
    """
    return f"{where}: " if value_at(written, place) is value_at(overridden, place) else "override "
