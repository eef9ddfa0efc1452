"""Submits, shows and cancels batch jobs of a provider, and writes their results."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from asyncinfer.aio.limiters import DISK
from asyncinfer.cli.display import show_failures
from asyncinfer.cli.exit_codes import SOME_FAILED
from asyncinfer.cli.interrupts import ended_by_signals
from asyncinfer.cli.messages import say
from asyncinfer.cli.run_file import run_file
from asyncinfer.config import BatchParams, InferenceConfig
from asyncinfer.dialects.batch import TAG
from asyncinfer.engines.call_input import absolute_path, layout_of, source_of
from asyncinfer.engines.registry import build_engine
from asyncinfer.errors import ConfigError
from asyncinfer.run.sources import prepared
from asyncinfer.scratch.atomic import async_replacing, check_target
from asyncinfer.serve.batch_file import answer_batch_file
from asyncinfer.types.batch import BatchInfo
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import FailureDetail

_TIME = "%Y-%m-%d %H:%M"
# The widest table, in characters. Ids of Bedrock's jobs have about 90.
_WIDEST = 1000


async def run_jobs(config: InferenceConfig) -> int:
    """Answer the rows of the input with batch jobs, and write the output. Returns the exit code."""
    if config.input_path is None or config.output_path is None:
        raise ConfigError("a batch job reads a file and writes a file: give --input_path FILE and --output_path FILE")
    batch = (config.batch or BatchParams()).model_copy(update={"enabled": True})
    return await run_file(config.model_copy(update={"batch": batch}))


async def submit_job(config: InferenceConfig) -> int:
    """Submit the rows of the input as one job, and print its id."""
    conversations = await _conversations(config)
    async with ended_by_signals(), build_engine(config) as engine:
        batch_id = await engine.ainfer_batch(conversations, _without_paths(config))
    # The id is shown before it is printed: stdout may be closed, and a job without a known id is lost.
    say(f"Submitted {len(conversations):,} rows. See: asyncinfer batch status {batch_id}")
    print(batch_id)
    return 0


async def show_status(config: InferenceConfig, batch_id: str) -> int:
    """Print the state of a job."""
    async with build_engine(config) as engine:
        info = await engine.aget_batch_status(batch_id, config)
    table = Table(show_header=False, box=None)
    for name, value in _facts(info):
        table.add_row(name, value)
    _print_whole(table)
    return 0


async def list_jobs(config: InferenceConfig, after: str | None, limit: int) -> int:
    """Print one page of the jobs."""
    async with build_engine(config) as engine:
        page = await engine.alist_batches(after, limit)
    table = Table(box=None)
    for name in ("id", "state", "done", "failed", "created (UTC)", "tag"):
        table.add_column(name, no_wrap=True)
    for info in page.batches:
        done = f"{info.completed_requests:,}/{info.total_requests:,}"
        created = info.created_at.strftime(_TIME) if info.created_at is not None else ""
        table.add_row(info.id, info.status.value, done, f"{info.failed_requests:,}", created, _tag(info))
    _print_whole(table)
    if page.has_more:
        say(f"More: asyncinfer batch list --after {page.last_id}")
    return 0


async def cancel_job(config: InferenceConfig, batch_id: str) -> int:
    """Cancel a job."""
    async with build_engine(config) as engine:
        info = await engine.acancel_batch(batch_id)
    say(f"{info.id} is {info.status.value}")
    return 0


async def write_results(config: InferenceConfig, batch_id: str) -> int:
    """Write the results of a job that has ended, in the order of the input. Returns the exit code."""
    output = absolute_path(config.output_path, "output_path")
    if output is None:
        raise ConfigError("there is no place for the results: give --output_path FILE")
    if not layout_of(config).is_plain:
        raise ConfigError(
            f"{output}: the results of a job are written as a JSONL file of conversations; give such an output, or use "
            "`asyncinfer batch run`, which writes every format"
        )
    await DISK.run(check_target, output, "output_path")
    conversations = await _conversations(config)
    async with ended_by_signals(), build_engine(config) as engine:
        result = await engine.aget_batch_results_partial(batch_id, conversations, _without_paths(config))
    if result.successful:
        async with async_replacing(output) as file:
            for conversation in result.conversations:
                await file.write(conversation.to_json_bytes() + b"\n")
        say(f"{len(result.successful):,} rows are in {output}")
    failures = [(failure.index, FailureDetail(failure.error)) for failure in result.failures]
    show_failures(failures, len(failures))
    return SOME_FAILED if failures else 0


async def answer_locally(config: InferenceConfig) -> int:
    """Answer a file of requests in OpenAI's batch format with the engine. Returns the exit code."""
    source = absolute_path(config.input_path, "input_path")
    output = absolute_path(config.output_path, "output_path")
    if source is None or output is None:
        raise ConfigError("give --input_path FILE with the requests, and --output_path FILE for the responses")
    await DISK.run(check_target, output, "output_path")
    async with ended_by_signals(), build_engine(config) as engine:
        summary = await answer_batch_file(engine, source, output)
    say(f"{summary.completed:,} requests are answered, {summary.failed:,} failed. See {output}")
    return SOME_FAILED if summary.failed else 0


async def _conversations(config: InferenceConfig) -> list[Conversation]:
    if config.input_path is None:
        raise ConfigError("there are no conversations: give --input_path FILE")
    source = await DISK.run(source_of, None, config)
    assert source is not None, "a file is a source"
    async with prepared(source):
        return await DISK.run(lambda: [item.load() for item in source.items()])


def _print_whole(table: Table) -> None:
    """Print a table as wide as it is. An id that was cut could not be used in the next command."""
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, console.measure(table, options=console.options.update(width=_WIDEST)).maximum)
    console.print(table)


def _without_paths(config: InferenceConfig) -> InferenceConfig:
    return config.model_copy(update={"input_path": None, "output_path": None, "progress_path": None})


def _tag(info: BatchInfo) -> str:
    """Return the tag by which a job is found that was submitted by this package."""
    return str((info.metadata or {}).get(TAG) or "")


def _facts(info: BatchInfo) -> list[tuple[str, str]]:
    times = [
        (name.removesuffix("_at").replace("_", " "), getattr(info, name))
        for name in ("created_at", "in_progress_at", "completed_at", "failed_at", "expired_at", "canceled_at")
    ]
    percentage = f" ({info.completion_percentage:.0f} %)" if info.total_requests else ""
    return [
        ("id", info.id),
        *([("tag", tag)] if (tag := _tag(info)) else []),
        ("state", info.status.value),
        ("done", f"{info.completed_requests:,} of {info.total_requests:,}{percentage}"),
        ("failed", f"{info.failed_requests:,}"),
        *([("error", info.error)] if info.error else []),
        *((name, f"{time.strftime(_TIME)} UTC") for name, time in times if time is not None),
    ]
