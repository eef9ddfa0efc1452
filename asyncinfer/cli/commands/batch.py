"""`asyncinfer batch`: batch jobs of a provider."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from asyncinfer.cli.commands.dotted_paths import DottedPathsCommand
from asyncinfer.cli.commands.options import (
    Config,
    Engine,
    LogFormat,
    LogLevel,
    Model,
    Verbose,
    set_up_logging,
)
from asyncinfer.cli.commands.settings import load_config, split_settings
from asyncinfer.cli.exit_codes import exit_code
from asyncinfer.config import InferenceConfig

batch = typer.Typer(no_args_is_help=True, help="Send rows as batch jobs of the provider, at a lower price.")

_Input = Annotated[
    str | None, typer.Option("--input_path", "--input-path", help="A JSONL file of conversations, one per line.")
]
_Output = Annotated[str | None, typer.Option("--output_path", "--output-path", help="The JSONL file for the answers.")]
_Id = Annotated[str, typer.Argument(help="The id of the job.")]


@batch.command(cls=DottedPathsCommand)
def run(
    context: typer.Context,
    config: Config = None,
    engine: Engine = None,
    model: Model = None,
    input_path: _Input = None,
    output_path: _Output = None,
    cancel_on_exit: Annotated[
        bool, typer.Option("--cancel-on-exit", help="Cancel the jobs on Ctrl-C. By default they go on.")
    ] = False,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "text",
    verbose: Verbose = False,
) -> None:
    """Answer a file of conversations with batch jobs."""
    from asyncinfer.cli.batch_jobs import run_jobs

    options = {
        "engine": engine,
        "model.model_name": model,
        "input_path": input_path,
        "output_path": output_path,
        "batch.cancel_on_exit": "true" if cancel_on_exit else None,
    }
    _run(context, config, options, run_jobs, log_level, log_format, verbose=verbose)


@batch.command(cls=DottedPathsCommand)
def submit(
    context: typer.Context,
    config: Config = None,
    engine: Engine = None,
    model: Model = None,
    input_path: _Input = None,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "text",
    verbose: Verbose = False,
) -> None:
    """Submit a file as one batch job, and print its id."""
    from asyncinfer.cli.batch_jobs import submit_job

    options = {"engine": engine, "model.model_name": model, "input_path": input_path}
    _run(context, config, options, submit_job, log_level, log_format, verbose=verbose)


@batch.command(cls=DottedPathsCommand)
def status(
    context: typer.Context,
    batch_id: _Id,
    config: Config = None,
    engine: Engine = None,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "text",
    verbose: Verbose = False,
) -> None:
    """Show the state of a batch job."""
    from asyncinfer.cli.batch_jobs import show_status

    batch_id = _id_after_settings(context, batch_id)
    _run(
        context, config, {"engine": engine}, lambda c: show_status(c, batch_id), log_level, log_format, verbose=verbose
    )


@batch.command("list", cls=DottedPathsCommand)
def list_(
    context: typer.Context,
    config: Config = None,
    engine: Engine = None,
    after: Annotated[str | None, typer.Option("--after", help="The last job of the page before.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="The most jobs to show.")] = 20,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "text",
    verbose: Verbose = False,
) -> None:
    """List the batch jobs of the account."""
    from asyncinfer.cli.batch_jobs import list_jobs

    _run(
        context,
        config,
        {"engine": engine},
        lambda c: list_jobs(c, after, limit),
        log_level,
        log_format,
        verbose=verbose,
    )


@batch.command(cls=DottedPathsCommand)
def cancel(
    context: typer.Context,
    batch_id: _Id,
    config: Config = None,
    engine: Engine = None,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "text",
    verbose: Verbose = False,
) -> None:
    """Cancel a batch job. Its answers so far remain."""
    from asyncinfer.cli.batch_jobs import cancel_job

    batch_id = _id_after_settings(context, batch_id)
    options = {"engine": engine}
    _run(context, config, options, lambda c: cancel_job(c, batch_id), log_level, log_format, verbose=verbose)


@batch.command(cls=DottedPathsCommand)
def results(
    context: typer.Context,
    batch_id: _Id,
    config: Config = None,
    engine: Engine = None,
    model: Model = None,
    input_path: _Input = None,
    output_path: _Output = None,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "text",
    verbose: Verbose = False,
) -> None:
    """Write the answers of a batch job to a file."""
    from asyncinfer.cli.batch_jobs import write_results

    batch_id = _id_after_settings(context, batch_id)
    options = {"engine": engine, "model.model_name": model, "input_path": input_path, "output_path": output_path}
    _run(context, config, options, lambda c: write_results(c, batch_id), log_level, log_format, verbose=verbose)


@batch.command(cls=DottedPathsCommand)
def local(
    context: typer.Context,
    config: Config = None,
    engine: Engine = None,
    model: Model = None,
    input_path: _Input = None,
    output_path: _Output = None,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "text",
    verbose: Verbose = False,
) -> None:
    """Answer a file of OpenAI batch requests here, with any engine."""
    from asyncinfer.cli.batch_jobs import answer_locally

    options = {"engine": engine, "model.model_name": model, "input_path": input_path, "output_path": output_path}
    _run(context, config, options, answer_locally, log_level, log_format, verbose=verbose)


def _id_after_settings(context: typer.Context, first: str) -> str:
    """Return the id of a job, which may follow settings with dotted paths.

    typer does not know that these are options, and takes the name of the first one for the id.
    """
    if not first.startswith("--"):
        return first
    settings, others = split_settings([first, *context.args])
    if not others:
        raise typer.BadParameter("the id of the job is missing")
    context.args[:] = [*settings, *others[1:]]
    return others[0]


def _run(
    context: typer.Context,
    config: str | None,
    options: dict[str, str | None],
    command: Callable[[InferenceConfig], Awaitable[int]],
    log_level: str,
    log_format: str,
    *,
    verbose: bool,
) -> None:
    """Run a command with the configuration, and exit."""

    async def work() -> int:
        return await command(load_config(config, context.args, options))

    set_up_logging(log_level, log_format)
    raise typer.Exit(exit_code(lambda: asyncio.run(work()), verbose=verbose))
