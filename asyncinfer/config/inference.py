"""The whole configuration of a run, from a YAML file and dotted overrides."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BeforeValidator, Field, ValidationError

from asyncinfer.config.base import Params, PathText
from asyncinfer.config.engine_type import EngineName
from asyncinfer.config.generation import GenerationParams
from asyncinfer.config.model import ModelParams
from asyncinfer.config.overrides import override
from asyncinfer.config.problems import Location, at, problems_in
from asyncinfer.config.remote import RemoteParams
from asyncinfer.config.variables import escaped, fill_in
from asyncinfer.config.yaml import dump, parse, read
from asyncinfer.errors import ConfigError
from asyncinfer.types.masking import frameless, masked_places
from asyncinfer.types.paths import os_error_text

C = TypeVar("C", bound="InferenceConfig")


def _settings(value: Any) -> Any:
    # `generation:` with every key below it commented out.
    return {} if value is None else value


Group = BeforeValidator(_settings)


class InferenceConfig(Params):
    """Everything a run may be asked. Only what is set explicitly overrides an engine's own settings."""

    model: Annotated[ModelParams, Group] = Field(default_factory=ModelParams)
    generation: Annotated[GenerationParams, Group] = Field(default_factory=GenerationParams)
    input_path: PathText | None = None
    """A JSONL file, a conversation a line."""
    output_path: PathText | None = None
    """Where the answered conversations go, as JSONL in input order."""
    reuse_output: bool = False
    """Take the answers that the file at `output_path` already holds for these rows, and ask only for the others."""
    progress_path: PathText | None = None
    """A JSON file that shows how far the run is, for other programs to poll."""
    engine: EngineName | None = None
    """Which engine runs the model."""
    remote_params: RemoteParams | None = None

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Iterable[str] = ()) -> Self:
        """The configuration in a YAML file, with `overrides` such as `generation.max_new_tokens=64` applied.

        Raises:
            ConfigError: lists every problem in a line of its own, with file and dotted path.
        """
        return _raised(cls._parsed(read(Path(path)), str(path), overrides))

    @classmethod
    def from_str(cls, text: str, overrides: Iterable[str] = ()) -> Self:
        """As `from_yaml`, from YAML text."""
        parsed = cls._parsed(text, "config", overrides)
        del text
        return _raised(parsed)

    def to_yaml(self, path: str | Path) -> None:
        """Write the settings that were set explicitly, without the API key. Credentials in the URL and in options are
        masked.

        Raises:
            ConfigError: the file cannot be written.
        """
        secret = {"remote_params": {"api_key"}}
        data = self.model_dump(mode="json", exclude_unset=True, exclude=secret, fallback=str)
        try:
            Path(path).write_text(dump(escaped(data)), encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: cannot be written: {os_error_text(error)}") from None

    @classmethod
    def _parsed(cls, text: str, where: str, overrides: Iterable[str]) -> Self | ConfigError:
        """The configuration, or the error to raise. If this raised the error, its traceback would show keys."""
        try:
            written = parse(text, where)
            requested = override(written, overrides)
        except ConfigError as error:
            return error
        data, problems = fill_in(requested)
        problems |= _masked(data)
        try:
            config = cls.model_validate(data)
        except ValidationError as error:
            problems = problems_in(error, cls, requested) | problems
        else:
            if not problems:
                return config
        lines = [_source(place, written, requested, where) + problem for place, problem in problems.items()]
        return ConfigError("\n".join(lines))


def _masked(data: dict[str, Any]) -> dict[Location, str]:
    """What a saved configuration holds as asterisks. An engine reports a URL of its own."""
    return {
        tuple(
            place.split(".")
        ): f"{place}: is masked, as in a saved configuration; put the value back, for instance as ${{VARIABLE}}"
        for place in masked_places(data)
        if place != "remote_params.api_url"
    }


def _raised(parsed: C | ConfigError) -> C:
    """Return the configuration, or raise the error without the frames where it was made."""
    if isinstance(parsed, ConfigError):
        raise frameless(parsed)
    return parsed


def _source(place: Location, written: Any, asked: Any, where: str) -> str:
    """Who said it: overriding leaves everything else in the file as the very same objects."""
    return f"{where}: " if at(written, place) is at(asked, place) else "override "
