"""The entry point: commands, exit codes, and what an error looks like to a person."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler

from asyncinfer.config import InferenceConfig, parse_cli_overrides
from asyncinfer.errors import AsyncInferError, ConfigError, InputError
from asyncinfer.types.run_errors import RunInterruptedError

USAGE, BROKEN, INTERRUPTED = 2, 3, 130

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Run chat models from the command line.",
)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # JSON Lines are UTF-8, whatever the locale; a terminal shows what it can.
        if isinstance(stream, io.TextIOWrapper):
            tty = stream.isatty()
            stream.reconfigure(encoding=None if tty else "utf-8", errors="replace" if tty else None)
    app()


@app.callback(invoke_without_command=True)
def _root(
    show_version: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True)] = False,
) -> None:
    if show_version:
        print(version("asyncinfer"))
        raise typer.Exit


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def infer(
    context: typer.Context,
    config: Annotated[str, typer.Option("-c", "--config", help="The YAML configuration.")],
    interactive: Annotated[bool, typer.Option("-i", "--interactive", help="Chat.")] = False,
    input_path: Annotated[
        str | None, typer.Option("--input_path", "--input-path", help="Conversations, a JSON object a line.")
    ] = None,
    output_path: Annotated[
        str | None, typer.Option("--output_path", "--output-path", help="Where the answers go; null: the terminal.")
    ] = None,
    reuse: Annotated[
        bool, typer.Option("--reuse", help="Take the answers that the output already holds; send only the other rows.")
    ] = False,
    image: Annotated[str | None, typer.Option(help="An image (path or URL) for the first message of a chat.")] = None,
    system_prompt: Annotated[
        str | None, typer.Option("--system-prompt", "--system_prompt", help="The system prompt of a chat.")
    ] = None,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")] = "warning",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks.")] = False,
) -> None:
    """Answer a file of conversations, or chat.

    Any setting can be given with its dotted path: --generation.max_new_tokens 64 --engine LLAMACPP
    """

    def settle() -> InferenceConfig:
        overrides = parse_cli_overrides(context.args)
        paths = {"input_path": input_path, "output_path": output_path}
        overrides += [f"{name}={_quoted(path)}" for name, path in paths.items() if path is not None]
        overrides += ["reuse_output=true"] if reuse else []
        return InferenceConfig.from_yaml(config, overrides)

    async def work() -> int:
        from asyncinfer.cli.batch import run_batch
        from asyncinfer.cli.chat import run_chat

        settings = settle()
        if settings.input_path is not None and not interactive:
            return await run_batch(settings)
        if not interactive and not sys.stdin.isatty():
            raise ConfigError("there is nothing to run: give --input_path FILE, or -i to chat")
        return await run_chat(settings, image=image, system_prompt=system_prompt)

    _configure_logging(log_level)
    raise typer.Exit(_guarded(work, verbose=verbose))


@app.command()
def engines(
    markdown: Annotated[bool, typer.Option("--markdown", help="Those behind an API, in detail, as Markdown.")] = False,
) -> None:
    """List the engines of this version."""
    from asyncinfer.cli.engines import markdown_table, show_engines

    if markdown:
        print(markdown_table())
    else:
        show_engines()


def _quoted(path: str) -> str:
    """As a YAML string, so that a path is never taken for a number; `null` is none."""
    return path if path == "null" else "'" + path.replace("'", "''") + "'"


def _configure_logging(level: str) -> None:
    if level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise typer.BadParameter("should be debug, info, warning or error", param_hint="--log-level")
    log = logging.getLogger("asyncinfer")
    log.setLevel(level.upper())
    log.addHandler(RichHandler(console=Console(stderr=True), show_time=False, show_path=False, markup=False))


def _guarded(work: Callable[[], Coroutine[Any, Any, int]], *, verbose: bool) -> int:
    """Run `work`; turn what it raises into a message and an exit code."""
    try:
        return asyncio.run(work())
    except (ConfigError, InputError) as error:
        return _say(error, USAGE, verbose=verbose)
    except RunInterruptedError as error:
        return _say(error, INTERRUPTED, verbose=verbose)
    except AsyncInferError as error:
        return _say(error, BROKEN, verbose=verbose)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not try to flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN
    except Exception as error:
        return _say(f"{type(error).__name__}: {error}", BROKEN, verbose=verbose)


def _say(error: object, code: int, *, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    print(f"asyncinfer: {error}", file=sys.stderr)
    return code
