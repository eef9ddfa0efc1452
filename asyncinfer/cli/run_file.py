"""Answers a file of conversations, and writes the answers to a file or to stdout."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from asyncinfer.cli.answer_view import without_controls
from asyncinfer.cli.display import Display, show_failures, show_summary
from asyncinfer.cli.exit_codes import SOME_FAILED
from asyncinfer.cli.interrupts import interruptible
from asyncinfer.cli.messages import say, show_reports
from asyncinfer.cli.typed_view import typed_text
from asyncinfer.config import InferenceConfig
from asyncinfer.config.overrides import mask_arguments
from asyncinfer.display.counts import progress_text
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.engines.call_runs import uses_batches
from asyncinfer.engines.registry import build_engine
from asyncinfer.run.stop import Stop
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import InferenceResult
from asyncinfer.types.run_errors import RunInterruptedError, SpendingLimitError


async def run_file(config: InferenceConfig) -> int:
    """Answer the rows of `config.input_path`, and return the exit code. Without an output path, print the answers."""
    stop, running = Stop(), "requests to the provider" if uses_batches(config) else "rows"
    show_reports()
    async with build_engine(config) as engine:
        try:
            async with interruptible(stop, running):
                writes = config.output_path is not None or config.retry_failures
                return await (_save if writes else _show)(engine, config, stop)
        except RunInterruptedError as error:
            raise type(error)(_interrupted(error), error.summary) from None


async def _save(engine: BaseInferenceEngine, config: InferenceConfig, stop: Stop) -> int:
    with Display() as display:
        summary = await engine.arun(config, on_progress=display.update, stop=stop)
    show_summary(summary, config.output_path)
    return SOME_FAILED if summary.failed else 0


async def _show(engine: BaseInferenceEngine, config: InferenceConfig, stop: Stop) -> int:
    with Display() as display:
        result = await engine.ainfer_partial(inference_config=config, on_progress=display.update, stop=stop)
    if sys.stdout.isatty():
        _print_panels(result)
    else:
        for _, conversation in result.successful:
            print(conversation.to_json())
    if result.has_failures or display.last.cut_by_length or display.last.filtered:
        counts = replace(display.last, commonest_failure=None)  # It is among the failures below.
        say(f"{len(result.successful)} rows finished, {progress_text(counts)}")
    show_failures(list(result.failures.items()), len(result.failures))
    return SOME_FAILED if result.has_failures else 0


def _print_panels(result: InferenceResult) -> None:
    console = Console(highlight=False, markup=False)
    for _, conversation in result.successful:
        title = Text(without_controls(conversation.conversation_id or ""))
        console.print(Panel(without_controls(_text(conversation)), title=title, title_align="left"))


def _text(conversation: Conversation) -> str:
    *asked, _ = conversation.messages
    shown = [f"{m.role}: {m.compute_flattened_text_content()}" for m in asked]
    return "\n\n".join([*shown, f"{conversation.messages[-1].role}: {typed_text(conversation)}"])


def _interrupted(error: RunInterruptedError) -> str:
    """The message of an interrupted run, with the command that goes on."""
    failed = error.summary.failed
    where = f" See {error.summary.failures_path}." if error.summary.failures_path is not None else ""
    lines = [str(error), f"{failed} row(s) failed.{where}"] if failed else [str(error)]
    if error.summary.cost is not None:
        lines.append(f"Cost of this run: {error.summary.cost.text}{error.summary.cost.price_list}")
    if isinstance(error, SpendingLimitError):
        lines.append("The command that goes on, once the limit is higher:")
    return "\n".join([*lines, f"  {_command()}"])


def _command() -> str:
    """Return the command line, without secrets."""
    return shlex.join(["asyncinfer", *mask_arguments(sys.argv[1:])])
