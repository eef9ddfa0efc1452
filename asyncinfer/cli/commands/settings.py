"""Reads the configuration of a command that accepts every setting by its dotted path."""

from __future__ import annotations

from collections.abc import Mapping

from asyncinfer.cli.examples import config_path
from asyncinfer.config import InferenceConfig, parse_cli_overrides
from asyncinfer.config.overrides import names_setting
from asyncinfer.errors import ConfigError


def load_config(path: str | None, arguments: list[str], options: Mapping[str, str | None]) -> InferenceConfig:
    """Return the configuration in a file or an example, with the settings of the command line.

    Args:
        path: The file, or the name of an example.
        arguments: The arguments with dotted paths, such as `--generation.seed 7`.
        options: The settings that have options of their own, by their dotted paths. They take precedence over
            `arguments`. None: not set.

    Raises:
        ConfigError: There is no configuration, or it has mistakes.
    """
    overrides = parse_cli_overrides(arguments)
    overrides += [f"{name}={_quoted(value)}" for name, value in options.items() if value is not None]
    if path is None and not overrides:
        raise ConfigError("there is no configuration: give -c FILE, or settings such as --engine VLLM")
    return InferenceConfig.from_yaml_and_arg_list(None if path is None else config_path(path), overrides)


def split_settings(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the arguments that are settings with dotted paths, such as `--generation.seed 7`, and the others."""
    settings, others = list[str](), list[str]()
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        if not names_setting(argument):
            others.append(argument)
            continue
        settings.append(argument)
        if "=" not in argument and remaining and not names_setting(remaining[0]):
            settings.append(remaining.pop(0))
    return settings, others


def _quoted(text: str) -> str:
    """Quote a text for YAML, which would read some as numbers. `null` stays as it is, and means that it is not set."""
    return text if text == "null" else "'" + text.replace("'", "''") + "'"
