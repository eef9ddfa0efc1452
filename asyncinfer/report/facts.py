"""The numbers of a report, as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from asyncinfer.report.histogram import Histogram
from asyncinfer.report.record import RunRecord

_PERCENTILES = (50, 90, 95, 99)


class Card(NamedTuple):
    """A number with its name, and what else there is to say about it."""

    name: str
    value: str
    note: str = ""


class LatencyRow(NamedTuple):
    """A row of the table of latencies: percentiles and the largest value, in seconds."""

    name: str
    values: list[float]


def cards_of(record: RunRecord) -> Iterator[Card]:
    """Yield the most important numbers of a run."""
    counts, time = record.counts, max(record.seconds, 1e-9)
    of = f"of {counts.total:,}" if counts.total is not None else ""
    resumed = f"{counts.resumed:,} by an earlier run" if counts.resumed else ""
    yield Card("rows answered", number(counts.completed), _joined(of, resumed))
    retryable = f"{counts.retryable:,} may succeed in another run" if counts.retryable else ""
    yield Card("rows failed", number(counts.failed), retryable)
    not_sent = counts.deduplicated + counts.cached
    if not_sent:
        duplicates = f"{counts.deduplicated:,} duplicates" if counts.deduplicated else ""
        from_cache = f"{counts.cached:,} from the cache" if counts.cached else ""
        yield Card("rows not sent", number(not_sent), _joined(duplicates, from_cache))
    answered = counts.completed - counts.resumed - not_sent
    yield Card("time", duration(record.seconds), f"{answered / time:,.1f} rows/s")
    retried = f"{counts.retried:,} retried" if counts.retried else ""
    yield Card("requests", number(counts.attempts), _joined(f"{counts.refused:,} refused", retried))
    cached = f"{counts.cached_tokens:,} cached" if counts.cached_tokens else ""
    yield Card("tokens in", number(counts.prompt_tokens), cached)
    rate = f"{counts.completion_tokens / time:,.1f} tokens/s"
    reasoning = f"{counts.reasoning_tokens:,} reasoning" if counts.reasoning_tokens else ""
    yield Card("tokens out", number(counts.completion_tokens), _joined(rate, reasoning))
    if counts.cost is not None:
        yield Card("cost", counts.cost)
    cut = f"{counts.cut_by_length:,} cut by length" if counts.cut_by_length else ""
    filtered = f"{counts.filtered:,} stopped by a filter" if counts.filtered else ""
    if cut or filtered:
        yield Card("incomplete answers", number(counts.cut_by_length + counts.filtered), _joined(cut, filtered))


def latency_rows(record: RunRecord) -> Iterator[LatencyRow]:
    """Yield the percentiles of the latencies."""
    named = (
        ("queue", record.latencies.queue),
        ("first byte", record.latencies.first_byte),
        ("whole answer", record.latencies.total),
    )
    for name, histogram in named:
        if histogram.count:
            yield LatencyRow(name, [*_percentiles(histogram), histogram.largest])


def _percentiles(histogram: Histogram) -> Iterator[float]:
    for percent in _PERCENTILES:
        value = histogram.percentile(percent)
        yield value if value is not None else 0.0


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def number(value: int) -> str:
    """A number with commas."""
    return f"{value:,}"


def seconds(value: float) -> str:
    """A short time, with three digits."""
    if value < 0.0005:
        return "0 s"
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s" if value < 1000 else f"{value:,.0f} s"


def duration(value: float) -> str:
    """A time in hours, minutes and seconds."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
