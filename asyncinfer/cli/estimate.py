"""Answers a few rows of a job, and prints what the others will take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict

from asyncinfer.cli.display import Display, show_failures
from asyncinfer.cli.exit_codes import SOME_FAILED
from asyncinfer.cli.interrupts import interruptible
from asyncinfer.cli.messages import is_json, say
from asyncinfer.config import InferenceConfig
from asyncinfer.data.layout import output_layout
from asyncinfer.engines.registry import build_engine
from asyncinfer.run.stop import Stop
from asyncinfer.types.costs import usd_text
from asyncinfer.types.estimates import Estimate, Interval
from asyncinfer.types.times import duration_text

_METHOD = (
    "The rows of the pilot were chosen at random. Ranges are 95% confidence intervals (Student's t). Rare long answers "
    "may exceed them, and the time assumes that the server accepts all requests that the settings allow."
)


async def run_estimate(config: InferenceConfig, rows: int) -> int:
    """Answer `rows` rows of `config.input_path`, print the estimate for the others, and return the exit code."""
    stop = Stop()
    async with build_engine(config) as engine, interruptible(stop):
        with Display() as display:
            estimate = await engine.aestimate(None, config, rows=rows, on_progress=display.update, stop=stop)
    if is_json():
        say(f"estimate for {estimate.left} rows", estimate=asdict(estimate))
    else:
        lines = [*_lines(estimate, config)]
        width = max(len(name) for name, _ in lines)
        for name, value in lines:
            say(f"{name:<{width}}  {value}")
        if estimate.left and estimate.pilot_rows:
            say(_METHOD)
    show_failures(estimate.failures, len(estimate.failures))
    return SOME_FAILED if estimate.failures else 0


def _lines(estimate: Estimate, config: InferenceConfig) -> Iterator[tuple[str, str]]:
    yield "pilot", _pilot(estimate)
    if not estimate.left:
        yield "rows left", f"0 of {estimate.rows:,}: the job is finished"
        return
    yield "rows left", f"{estimate.left:,} of {estimate.rows:,}"
    if estimate.sent_again:
        yield "answered", _answered(estimate, config)
    if _is_without_pilot(estimate):
        yield "estimate", "none: nothing was sent"
        return
    if estimate.prompt_tokens is None or estimate.completion_tokens is None:
        yield "estimate", "none: no answer of the pilot says how many tokens it used"
        return
    yield "tokens in", _range(estimate.prompt_tokens, _tokens)
    yield "tokens out", _range(estimate.completion_tokens, _tokens)
    if estimate.cost is not None:
        source = estimate.paid.price_list if estimate.paid is not None else ""
        yield "cost", f"{_range(estimate.cost, usd_text)}{source}"
    elif estimate.paid is not None:
        yield "cost", estimate.paid.text
    if estimate.seconds is not None:
        yield "time", _range(estimate.seconds, duration_text)
    else:
        yield "time", "unknown: the rows of the pilot were answered earlier"


def _is_without_pilot(estimate: Estimate) -> bool:
    """Whether nothing was tried, because the output is that of a finished job, but no answer can be read from it."""
    return not estimate.pilot_rows and not estimate.failures and bool(estimate.sent_again)


def _answered(estimate: Estimate, config: InferenceConfig) -> str:
    """The rows that have answers in the output, and what a run does with them."""
    is_finished = estimate.sent_again == estimate.left
    what = "all of them: the job is finished" if is_finished else f"{estimate.sent_again:,} of them"
    can_reuse = output_layout(config.output_path, config.output).is_plain
    unless = "without --reuse," if can_reuse else "they cannot be reused, so"
    return f"{what}. The answers are in {config.output_path}; {unless} a run sends these rows again"


def _pilot(estimate: Estimate) -> str:
    now = estimate.pilot_rows - estimate.already_answered
    paid = f", for {estimate.paid.text}" if estimate.paid is not None else ""
    if _is_without_pilot(estimate):
        return "no rows"
    if not estimate.already_answered:
        return f"{now} rows answered{paid}; their answers are saved"
    if not now:
        return f"{estimate.already_answered} rows that were answered before; nothing was sent"
    return f"{now} rows answered{paid}; their answers are saved. Answered before: {estimate.already_answered}"


def _range(value: Interval, text: Callable[[float], str]) -> str:
    if value.low is None or value.high is None:
        return f"about {text(value.expected)} (no range: the pilot has one row)"
    return f"about {text(value.expected)} ({text(value.low)} to {text(value.high)})"


def _tokens(count: float) -> str:
    return f"{count:,.0f}"
