"""The entry point of the command line: commands, options, exit codes and error messages."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, TextIO

import typer

from asyncinfer.cli.completion import complete_config, complete_engine
from asyncinfer.cli.examples import config_path, show_examples
from asyncinfer.cli.messages import configure_logging, say, say_error
from asyncinfer.config import InferenceConfig, parse_cli_overrides
from asyncinfer.errors import AsyncInferError, ConfigError, InputError
from asyncinfer.types.run_errors import RunInterruptedError

log = logging.getLogger("asyncinfer")

# Exit codes: a wrong configuration or input, an error of the run, an interrupted run.
CONFIG_ERROR, RUN_ERROR, INTERRUPTED = 2, 3, 130

_LEVELS = ("debug", "info", "warning", "error")
_FORMATS = ("text", "json")

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Run chat models from the command line.",
)


# Options of several commands.
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


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # JSON Lines are UTF-8, whatever the locale. A terminal keeps its encoding, and shows `?` for what it lacks.
        if isinstance(stream, io.TextIOWrapper):
            tty = stream.isatty()
            stream.reconfigure(encoding=None if tty else "utf-8", errors="replace" if tty else None)
    questions: TextIO = sys.stdin
    if isinstance(questions, io.TextIOWrapper) and not questions.isatty():
        questions.reconfigure(encoding="utf-8-sig", errors="replace")
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
    config: Annotated[
        str | None,
        typer.Option(
            "-c",
            "--config",
            help="The configuration: a YAML file, or the name of an example (see --list).",
            autocompletion=complete_config,
        ),
    ] = None,
    list_configs: Annotated[bool, typer.Option("--list", help="List the example configurations, and exit.")] = False,
    interactive: Annotated[bool, typer.Option("-i", "--interactive", help="Chat on the terminal.")] = False,
    input_path: Annotated[
        str | None,
        typer.Option("--input_path", "--input-path", help="A JSONL file of conversations, one JSON object per line."),
    ] = None,
    output_path: Annotated[
        str | None,
        typer.Option("--output_path", "--output-path", help="The JSONL file for the answers. null: print them."),
    ] = None,
    reuse: Annotated[
        bool, typer.Option("--reuse", help="Keep the answers in the output file, and send only the other rows.")
    ] = False,
    image: Annotated[
        str | None,
        typer.Option(help="The path or URL of an image, or of a PDF document, for the first message of a chat."),
    ] = None,
    system_prompt: Annotated[
        str | None, typer.Option("--system-prompt", "--system_prompt", help="The system prompt of a chat.")
    ] = None,
    markdown: Markdown = True,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "text",
    verbose: Verbose = False,
) -> None:
    """Answer a file of conversations, or chat.

    Every setting can be overridden with its dotted path: --generation.max_new_tokens 64 --engine LLAMACPP
    """

    def load_config() -> InferenceConfig:
        overrides = parse_cli_overrides(context.args)
        paths = {"input_path": input_path, "output_path": output_path}
        overrides += [f"{name}={_quoted(path)}" for name, path in paths.items() if path is not None]
        overrides += ["reuse_output=true"] if reuse else []
        return _loaded(config, overrides)

    async def run() -> int:
        from asyncinfer.cli.batch import run_batch
        from asyncinfer.cli.chat import run_chat

        loaded = load_config()
        if loaded.input_path is not None and (input_path is not None or not interactive):
            if interactive:
                log.warning("--interactive has no effect with --input_path: the file is answered")
            return await run_batch(loaded)
        if not interactive and not sys.stdin.isatty():
            raise ConfigError("there is nothing to run: give --input_path FILE, or -i to chat")
        return await run_chat(loaded, image=image, system_prompt=system_prompt, markdown=markdown)

    if list_configs:
        show_examples()
        raise typer.Exit
    _configure_logging(log_level, log_format)
    raise typer.Exit(_exit_code(lambda: asyncio.run(run()), verbose=verbose))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def serve(
    context: typer.Context,
    config: Annotated[
        str | None,
        typer.Option("-c", "--config", help="The configuration: a YAML file, or the name of an example."),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on. 0: any free port.", min=0, max=65535)] = 8000,
    api_key_env: Annotated[
        list[str] | None,
        typer.Option(
            "--api-key-env",
            help="An environment variable with the keys that clients may use, separated by commas. Repeatable.",
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow a server without keys that other machines can reach.")
    ] = False,
    max_concurrency: Annotated[
        int | None,
        typer.Option(help="Maximum number of answers in progress. By default, what the engine answers at once."),
    ] = None,
    max_queue: Annotated[
        int, typer.Option(help="Maximum number of requests that wait; further ones get status 429.")
    ] = 256,
    max_body_mib: Annotated[int, typer.Option("--max-body-mib", help="Maximum size of a request, in MiB.")] = 32,
    max_images: Annotated[int, typer.Option(help="Maximum number of images and documents in one request.")] = 16,
    model_name: Annotated[
        list[str] | None,
        typer.Option("--served-model-name", help="The name of the model for clients. Repeatable."),
    ] = None,
    any_model: Annotated[
        bool, typer.Option("--any-model", help="Accept every name of a model, and pass it on to a remote engine.")
    ] = False,
    allow_image_urls: Annotated[
        bool,
        typer.Option(
            "--allow-image-urls", help="Accept http and https URLs of public addresses for images and documents."
        ),
    ] = False,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host",
            help="A host name by which clients may reach a server without keys, besides localhost. Repeatable.",
        ),
    ] = None,
    pass_field: Annotated[
        list[str] | None,
        typer.Option("--pass-field", help="A field of requests to pass on to the API of a remote engine. Repeatable."),
    ] = None,
    shutdown_grace: Annotated[
        float, typer.Option(help="Seconds that running answers get to finish when the server is stopped.")
    ] = 30.0,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")] = "warning",
    log_format: Annotated[
        str, typer.Option("--log-format", help="text, or json: every line on stderr is a JSON object.")
    ] = "text",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks.")] = False,
) -> None:
    """Serve an engine with OpenAI's API. Needs the extra `serve`.

    Every setting can be overridden with its dotted path: --generation.max_new_tokens 64 --engine LLAMACPP
    """

    async def run() -> int:
        from asyncinfer.cli.serve import keys_in_variables, run_server
        from asyncinfer.serve.settings import ServerSettings

        settings = ServerSettings(
            api_keys=keys_in_variables(api_key_env or ()),
            model_names=tuple(model_name or ()),
            any_model=any_model,
            max_concurrency=max_concurrency,
            max_queue=max_queue,
            max_body_bytes=max_body_mib * 2**20,
            max_images=max_images,
            allow_image_urls=allow_image_urls,
            passed_fields=frozenset(pass_field or ()),
            allowed_hosts=frozenset(allowed_host) if allowed_host else None,
            shutdown_grace=shutdown_grace,
        )
        return await run_server(_loaded(config, parse_cli_overrides(context.args)), settings, host, port, insecure)

    configure_logging(
        _choice(log_level, "--log-level", "debug", "info", "warning", "error"),
        _choice(log_format, "--log-format", "text", "json"),
    )
    raise typer.Exit(_exit_code(lambda: asyncio.run(run()), verbose=verbose))


@app.command()
def ask(
    question: Annotated[
        str | None, typer.Argument(help="The question. Text that is piped to the command is appended to it.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            help="The model: a .gguf file, pkg:PACKAGE/FILE, a folder, a hub repository, or a provider's name of it.",
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "-e",
            "--engine",
            help="The engine (see asyncinfer engines). By default, the model's name tells it.",
            autocompletion=complete_engine,
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option("-c", "--config", help="A configuration, for all other settings.", autocompletion=complete_config),
    ] = None,
    system: Annotated[str | None, typer.Option("--system", help="The system prompt.")] = None,
    image: Annotated[
        list[str] | None,
        typer.Option("--image", help="The path or URL of an image, or of a PDF document. May be repeated."),
    ] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", help="The most tokens of the answer.")] = None,
    temperature: Annotated[float | None, typer.Option("--temperature", help="0 for the most likely answer.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The answer is a JSON object.")] = False,
    schema: Annotated[
        str | None, typer.Option("--schema", help="A file with a JSON schema that the answer fits.")
    ] = None,
    stream: Annotated[
        bool,
        typer.Option("--stream/--no-stream", help="Show the answer while it is generated, or when it is complete."),
    ] = True,
    api_url: Annotated[
        str | None, typer.Option("--api-url", help="The URL of the API. Without -e, of any server with OpenAI's API.")
    ] = None,
    markdown: Markdown = True,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "text",
    verbose: Verbose = False,
) -> None:
    """Answer one question. No configuration file is needed.

    asyncinfer ask -m gpt-5-mini "What is the capital of France?"

    cat notes.txt | asyncinfer ask -m claude-sonnet-4-5 "Summarise"
    """

    def run() -> int:
        from asyncinfer.cli.ask import Question, load_config, question_text, run_ask, schema_in

        wanted = schema_in(schema, any_object=as_json)
        settings = {
            "engine": engine,
            "model.model_name": model,
            "remote_params.api_url": api_url,
            "generation.max_new_tokens": max_tokens,
            "generation.temperature": temperature,
            "generation.guided_decoding": None if wanted is None else {"json": wanted},
        }
        loaded = load_config(None if config is None else config_path(config), settings)
        asked = Question(question_text(question), system, image or (), stream=stream, markdown=markdown)
        return asyncio.run(run_ask(loaded, asked))

    _configure_logging(log_level, log_format)
    raise typer.Exit(_exit_code(run, verbose=verbose))


@app.command()
def engines(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the engines behind an API and their features, in Markdown.")
    ] = False,
    write: Annotated[
        Path | None,
        typer.Option(
            help="With --markdown: write the table into this file, between the lines <!-- engines: begin --> and"
            " <!-- engines: end -->."
        ),
    ] = None,
) -> None:
    """List the engines of this version."""
    from asyncinfer.cli.engines import markdown_table, show_engines, write_table

    def run() -> int:
        if not markdown:
            show_engines()
        elif write is None:
            print(markdown_table())
        else:
            write_table(write)
        return 0

    if write is not None and not markdown:
        raise typer.BadParameter("needs --markdown", param_hint="--write")
    raise typer.Exit(_exit_code(run, verbose=False))


def _loaded(config: str | None, overrides: list[str]) -> InferenceConfig:
    """The configuration in a file or an example, with overrides.

    Raises:
        ConfigError: There is no configuration, or it has mistakes.
    """
    if config is None and not overrides:
        raise ConfigError("there is no configuration: give -c FILE, or settings such as --engine VLLM")
    return InferenceConfig.from_yaml_and_arg_list(None if config is None else config_path(config), overrides)


def _quoted(path: str) -> str:
    """Quote a path for YAML, which would read some paths as numbers. `null` stays as it is, and means no path."""
    return path if path == "null" else "'" + path.replace("'", "''") + "'"


def _configure_logging(level: str, log_format: str) -> None:
    configure_logging(_choice(level, "--log-level", *_LEVELS), _choice(log_format, "--log-format", *_FORMATS))


def _choice(value: str, option: str, *choices: str) -> str:
    """The value of an option, in lower case.

    Raises:
        BadParameter: It is not one of the choices.
    """
    if value.lower() not in choices:
        raise typer.BadParameter(f"should be {', '.join(choices[:-1])} or {choices[-1]}", param_hint=option)
    return value.lower()


def _exit_code(command: Callable[[], int], *, verbose: bool) -> int:
    """Run a command and return its exit code. An exception is shown as a message."""
    try:
        return command()
    except (ConfigError, InputError) as error:
        return _report(error, CONFIG_ERROR, verbose=verbose)
    except RunInterruptedError as error:
        return _report(error, INTERRUPTED, verbose=verbose)
    except AsyncInferError as error:
        return _report(error, RUN_ERROR, verbose=verbose)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout, such as `head`, has ended. The interpreter must not try to flush stdout at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return RUN_ERROR
    except Exception as error:
        return _report(f"{type(error).__name__}: {error}", RUN_ERROR, verbose=verbose)


def _report(error: object, code: int, *, verbose: bool) -> int:
    if verbose:
        say(traceback.format_exc().rstrip())
    say_error(str(error))
    return code
