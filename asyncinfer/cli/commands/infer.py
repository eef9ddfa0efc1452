"""`asyncinfer infer`: answers a file of conversations, or chats."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Annotated

import typer

from asyncinfer.cli.commands.options import (
    Config,
    Engine,
    Images,
    LogFormat,
    LogLevel,
    Markdown,
    Model,
    System,
    Verbose,
    set_up_logging,
)
from asyncinfer.cli.commands.settings import load_config
from asyncinfer.cli.examples import show_examples
from asyncinfer.cli.exit_codes import exit_code
from asyncinfer.errors import ConfigError

log = logging.getLogger("asyncinfer")


def infer(
    context: typer.Context,
    config: Config = None,
    engine: Engine = None,
    model: Model = None,
    list_configs: Annotated[bool, typer.Option("--list", help="List the example configurations, and exit.")] = False,
    interactive: Annotated[bool, typer.Option("-i", "--interactive", help="Chat on the terminal.")] = False,
    input_path: Annotated[
        str | None,
        typer.Option(
            "--input_path",
            "--input-path",
            help="The input: JSONL of conversations, or a table (CSV, Parquet, ...) with --input.prompt.",
        ),
    ] = None,
    output_path: Annotated[
        str | None,
        typer.Option(
            "--output_path", "--output-path", help="The file for the answers: JSONL, CSV or Parquet. null: print them."
        ),
    ] = None,
    reuse: Annotated[
        bool, typer.Option("--reuse", help="Keep the answers in the output file, and send only the other rows.")
    ] = False,
    report: Annotated[
        str | None,
        typer.Option("--report", help="Write an HTML page about the run to this path, also after an error."),
    ] = None,
    save_events: Annotated[
        bool, typer.Option("--save-events", help="Save the events beside the output, for asyncinfer report.")
    ] = False,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", help="Run only the first N rows.")] = None,
    retry_failures: Annotated[
        bool,
        typer.Option("--retry-failures", help="Run only OUTPUT.failures.jsonl, and merge the answers into the output."),
    ] = False,
    estimate: Annotated[
        int | None,
        typer.Option(
            "--estimate",
            min=1,
            metavar="N",
            help="Answer N rows, chosen at random, and print the tokens, the cost and the time of the others. The "
            "answers are saved: the job does not pay for them again.",
        ),
    ] = None,
    image: Images = None,
    system: System = None,
    history: Annotated[
        bool,
        typer.Option("--history/--no-history", help="Keep the messages of chats, for the arrow keys, or not."),
    ] = True,
    markdown: Markdown = True,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "text",
    verbose: Verbose = False,
) -> None:
    """Answer a file of conversations, or chat.

    asyncinfer infer -c config.yaml --input_path in.jsonl --output_path out.jsonl

    Every setting can be overridden with its dotted path: --generation.max_new_tokens 64

    --image and --system are for a chat.
    """

    async def run() -> int:
        from asyncinfer.cli.chat import run_chat
        from asyncinfer.cli.estimate import run_estimate
        from asyncinfer.cli.run_file import run_file

        flags = {"--reuse_output": reuse, "--save_events": save_events, "--retry_failures": retry_failures}
        arguments = [*context.args, *(text for name, on in flags.items() if on for text in (name, "true"))]
        options = {
            "engine": engine,
            "model.model_name": model,
            "input_path": input_path,
            "output_path": output_path,
            "report_path": report,
            "limit": str(limit) if limit is not None else None,
        }
        loaded = load_config(config, arguments, options)
        has_rows = loaded.input_path is not None or loaded.retry_failures
        if has_rows and (input_path is not None or not interactive):
            if interactive:
                log.warning("--interactive has no effect with --input_path: the file is answered")
            return await run_file(loaded) if estimate is None else await run_estimate(loaded, estimate)
        if estimate is not None:
            raise ConfigError("--estimate needs the rows of a job: give --input_path FILE")
        if not interactive and not sys.stdin.isatty():
            raise ConfigError("there is nothing to run: give --input_path FILE, or -i to chat")
        return await run_chat(loaded, images=image or (), system_prompt=system, markdown=markdown, save_history=history)

    if list_configs:
        show_examples()
        raise typer.Exit
    set_up_logging(log_level, log_format)
    raise typer.Exit(exit_code(lambda: asyncio.run(run()), verbose=verbose))
