"""The options that several commands have, with the same names and the same meaning."""

from __future__ import annotations

from typing import Annotated

import typer

from asyncinfer.cli.completion import complete_config, complete_engine
from asyncinfer.cli.messages import configure_logging

_LEVELS = ("debug", "info", "warning", "error")
_FORMATS = ("text", "json")

Config = Annotated[
    str | None,
    typer.Option(
        "-c",
        "--config",
        help="The configuration: a YAML file, or the name of an example (see infer --list).",
        autocompletion=complete_config,
    ),
]
Engine = Annotated[
    str | None,
    typer.Option("-e", "--engine", help="The engine (see asyncinfer engines).", autocompletion=complete_engine),
]
Model = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        help="The model: a .gguf file, pkg:PACKAGE/FILE, a folder, a hub repository, "
        "or the name that the provider uses.",
    ),
]
System = Annotated[
    str | None, typer.Option("--system", "--system-prompt", "--system_prompt", help="The system prompt.")
]
Images = Annotated[
    list[str] | None,
    typer.Option("--image", help="The path or URL of an image, or of a PDF document. Repeatable."),
]
Markdown = Annotated[
    bool, typer.Option("--markdown/--plain", help="Render answers as Markdown on a terminal, or show them as they are.")
]
LogLevel = Annotated[
    str,
    typer.Option("--log-level", help="debug, info, warning or error.", autocompletion=lambda: list(_LEVELS)),
]
LogFormat = Annotated[
    str,
    typer.Option(
        "--log-format",
        help="text, or json: every line on stderr is a JSON object.",
        autocompletion=lambda: list(_FORMATS),
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks.")]


def set_up_logging(level: str, log_format: str) -> None:
    """Write log records to stderr.

    Raises:
        BadParameter: The level or the format is unknown.
    """
    configure_logging(_choice(level, "--log-level", *_LEVELS), _choice(log_format, "--log-format", *_FORMATS))


def _choice(value: str, option: str, *choices: str) -> str:
    """The value of an option, in lower case.

    Raises:
        BadParameter: It is not one of the choices.
    """
    if value.lower() not in choices:
        raise typer.BadParameter(f"should be {', '.join(choices[:-1])} or {choices[-1]}", param_hint=option)
    return value.lower()
