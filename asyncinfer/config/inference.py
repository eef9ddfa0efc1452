"""The configuration of a run, from Python or from a YAML file with overrides."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Self, TextIO, TypeVar

from pydantic import Field, ValidationError, model_validator

from asyncinfer.config.base import Count, Group, OptionalPath, Params, Positive
from asyncinfer.config.batch import BatchParams
from asyncinfer.config.cost import CostPerMillion
from asyncinfer.config.data import InputParams, OutputParams
from asyncinfer.config.distributed import DistributedParams
from asyncinfer.config.engine_type import EngineName
from asyncinfer.config.generation import GenerationParams
from asyncinfer.config.model import ModelParams
from asyncinfer.config.overrides import override
from asyncinfer.config.problems import Location, problems_in, value_at
from asyncinfer.config.remote import RemoteParams
from asyncinfer.config.telemetry import TelemetryParams
from asyncinfer.config.variables import escaped, fill_in
from asyncinfer.config.yaml import dump, parse, read
from asyncinfer.errors import ConfigError
from asyncinfer.types.field_types import NONE
from asyncinfer.types.masking import masked_places, without_traceback
from asyncinfer.types.paths import os_error_text

log = logging.getLogger("asyncinfer")

C = TypeVar("C", bound="InferenceConfig")
# How the arguments begin that launchers of several processes add.
_LAUNCHER_ARGUMENT = "--local-rank"


class InferenceConfig(Params):
    """All settings of a run. Only settings that are set explicitly override those of the engine."""

    # The settings that Oumi has too, in its order
    model: Annotated[ModelParams, Group] = Field(default_factory=ModelParams, kw_only=False)
    """The model, and how it is loaded."""
    generation: Annotated[GenerationParams, Group] = Field(default_factory=GenerationParams, kw_only=False)
    """How answers are generated."""
    input_path: OptionalPath = NONE
    """The rows: a file in the format of its extension, a URL, a pattern such as `data/*.parquet`, or the folder of a
    data set. `input` says how a row becomes a conversation."""
    output_path: OptionalPath = NONE
    """The file for the answers, in input order: JSONL for conversations, CSV or Parquet for rows."""
    progress_path: OptionalPath = NONE
    """A JSON file with the progress of the run, which other programs can read."""
    engine: EngineName | None = None
    """Which engine runs the model; null: NATIVE."""
    remote_params: RemoteParams | None = None
    """The endpoint of the model, its key and its limits; null: the defaults."""

    # What is run
    input: InputParams | None = None
    """The rows of a table, a URL or a data set, and how each becomes a conversation; null: a file of conversations."""
    limit: Count | None = None
    """The most rows to run, the first ones of the input; null: all."""
    retry_failures: bool = False
    """Run only the rows in `<output_path>.failures.jsonl`, which may be corrected there, and merge their answers into
    the file at `output_path`. `input_path` is read only for the columns of an output of rows."""

    # Which rows need no request
    reuse_output: bool = False
    """Take answers for these rows from the file at `output_path`, and send only the other rows."""
    deduplicate: bool | None = None
    """Send one of several duplicate rows, and give its answer to all; null: if the temperature is 0."""
    cache: bool = False
    """Keep answers in a local file, and take them from there in later runs and calls."""
    cache_path: OptionalPath = NONE
    """The file of the cache; null: in the user's cache folder."""
    cache_max_mib: Count = 1024
    """The largest size of the cache, in MiB. The answers that were not used for the longest time are removed first."""

    # How the others are sent
    batch: BatchParams | None = None
    """Send the rows of a run as batch jobs of the provider; null: one request for each row."""
    distributed: DistributedParams | None = None
    """Replicas of the engine in other processes, on this machine or in a cluster; null: one engine in this process."""

    # What the job may take
    cost_per_million: CostPerMillion | None = None
    """US dollars per million tokens; null: the prices of the package genai-prices, if it is installed."""
    max_cost: Positive | None = None
    """US dollars that the job may cost, earlier runs of it included. At the limit the run ends, and can be resumed;
    null: no limit."""
    max_tokens: Count | None = None
    """Tokens that the job may use, prompts and answers, earlier runs of it included. At the limit the run ends, and can
    be resumed; null: no limit. `generation.max_new_tokens` limits one answer."""

    # What is written and reported
    output: OutputParams | None = None
    """How the output is written; null: in the format of the extension of `output_path`, as one file at the end."""
    report_path: OptionalPath = NONE
    """An HTML page about the run. It is written at the end, also of a run that failed or was interrupted."""
    save_events: bool = False
    """Save the events of the run in `<output_path>.events.json`, from which a report can be written later."""
    telemetry: TelemetryParams | None = None
    """What is reported to OpenTelemetry; null: nothing."""

    @model_validator(mode="after")
    def _take_paths(self) -> Self:
        """Let `input.path` and `output.path` set `input_path` and `output_path`, which all other code reads."""
        for name, group in (("input", self.input), ("output", self.output)):
            path, at_top = group.path if group is not None else None, f"{name}_path"
            if path is None or getattr(self, at_top) == path:
                continue
            if getattr(self, at_top) is not None:
                raise ValueError(f"{name}.path and {at_top} name different files; set one of them")
            object.__setattr__(self, at_top, path)  # An assignment would validate, and so call this method again.
            self.__pydantic_fields_set__.add(at_top)
        return self

    @classmethod
    def from_yaml(
        cls, config_path: str | Path, overrides: Iterable[str] = (), *, ignore_interpolation: bool = True
    ) -> Self:
        """The configuration in a YAML file, with `overrides` such as `generation.max_new_tokens=64` applied.

        Args:
            ignore_interpolation: Accepted as in Oumi, without effect. Environment variables are always filled in, and
                a setting cannot refer to another one.

        Raises:
            ConfigError: There are mistakes. The message has one line for each, with file and dotted path.
        """
        return _value_or_raise(cls._parsed(read(Path(config_path)), str(config_path), overrides))

    @classmethod
    def from_yaml_and_arg_list(
        cls,
        config_path: str | Path | None,
        arg_list: Iterable[str],
        logger: logging.Logger | None = None,
        ignore_interpolation: bool = True,
    ) -> Self:
        """As `from_yaml`, with the name and the arguments of Oumi.

        Args:
            config_path: None: only the overrides.
            arg_list: The overrides. Those that a launcher of several processes adds (`--local-rank`) are ignored.
            logger: Gets the message of a mistake, before it is raised.
            ignore_interpolation: As in `from_yaml`.
        """
        overrides = [arg for arg in arg_list if not arg.startswith(_LAUNCHER_ARGUMENT)]
        try:
            return cls.from_yaml(config_path, overrides) if config_path is not None else cls.from_str("{}", overrides)
        except ConfigError as error:
            if logger is not None:
                logger.error("%s", error)
            raise

    @classmethod
    def from_str(cls, text: str, overrides: Iterable[str] = ()) -> Self:
        """The configuration in a YAML text. As `from_yaml` otherwise."""
        parsed = cls._parsed(text, "config", overrides)
        del text
        return _value_or_raise(parsed)

    def to_yaml(self, config_path: str | Path | TextIO) -> None:
        """Write the settings that are set explicitly, without the API key. Values of headers are masked, and so are
        credentials in the URL and in options.

        Raises:
            ConfigError: The file cannot be written.
        """
        text = dump(escaped(self._shown(exclude_unset=True)))
        if not isinstance(config_path, str | Path):
            config_path.write(text)
            return
        try:
            Path(config_path).write_text(text, encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ConfigError(f"{config_path}: cannot be written: {os_error_text(error)}") from None

    def print_config(self, logger: logging.Logger | None = None) -> None:
        """Log all settings as YAML, at level info. Secrets are left out or masked, as in `to_yaml`.

        Args:
            logger: By default, the logger `asyncinfer`.
        """
        (logger or log).info("Configuration:\n%s", dump(self._shown(exclude_unset=False)))

    def _shown(self, *, exclude_unset: bool) -> dict[str, Any]:
        """The settings without secrets."""
        secret = {"remote_params": {"api_key"}}
        return self.model_dump(mode="json", exclude_unset=exclude_unset, exclude=secret, fallback=str)

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
