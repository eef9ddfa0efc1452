"""`asyncinfer ask`: answers one question."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from asyncinfer.cli.commands.options import (
    Images,
    LogFormat,
    LogLevel,
    Markdown,
    Model,
    System,
    Verbose,
    set_up_logging,
)
from asyncinfer.cli.completion import complete_config, complete_engine
from asyncinfer.cli.examples import config_path
from asyncinfer.cli.exit_codes import exit_code


def ask(
    question: Annotated[
        str | None, typer.Argument(help="The question. Text that is piped to the command is appended to it.")
    ] = None,
    model: Model = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "-e",
            "--engine",
            help="The engine (see asyncinfer engines). By default, it is derived from the model's name.",
            autocompletion=complete_engine,
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option("-c", "--config", help="A configuration, for all other settings.", autocompletion=complete_config),
    ] = None,
    system: System = None,
    image: Images = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", help="Maximum number of tokens in the answer.")
    ] = None,
    temperature: Annotated[float | None, typer.Option("--temperature", help="0 for the most likely answer.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The answer is a JSON object.")] = False,
    schema: Annotated[
        str | None, typer.Option("--schema", help="A file with a JSON schema that the answer fits.")
    ] = None,
    response_model: Annotated[
        str | None,
        typer.Option(
            "--response-model",
            help="A pydantic class, as package.module:Class, that the answer fits. "
            "An answer that does not fit is asked again.",
        ),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option("--stream/--no-stream", help="Show the answer while it is generated, or when it is complete."),
    ] = True,
    api_url: Annotated[
        str | None, typer.Option("--api-url", help="The URL of the API. Without -e, of any server with OpenAI's API.")
    ] = None,
    read_stdin: Annotated[
        bool,
        typer.Option(
            "--stdin/--no-stdin",
            help="Append the text that is piped to the question, or leave stdin unread.",
        ),
    ] = True,
    markdown: Markdown = True,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "text",
    verbose: Verbose = False,
) -> None:
    """Answer one question. No configuration file is needed.

    Settings without an option, such as generation.seed, are in the file of -c.

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
            "generation.response_model": response_model,
        }
        loaded = load_config(None if config is None else config_path(config), settings)
        asked = Question(
            question_text(question, read_stdin=read_stdin), system, image or (), stream=stream, markdown=markdown
        )
        return asyncio.run(run_ask(loaded, asked))

    set_up_logging(log_level, log_format)
    raise typer.Exit(exit_code(run, verbose=verbose))
