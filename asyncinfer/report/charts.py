"""The charts of a report, as figures of plotly.js (version 3, https://plotly.com/javascript/reference/).

Colours are names of CSS variables, such as `--blue`. The page replaces them by their values, so that the charts follow
the colour scheme of the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from asyncinfer.report.record import RunRecord
from asyncinfer.report.slices import TimeSlice

_BARS = 30
_FEW = 6
# The last slice is shorter than the others. A shorter part of a slice counts as this part, so that a few rows do not
# look like a high rate.
_LEAST_PART = 0.5


class Chart(NamedTuple):
    """A chart. `data` and `layout` are those of `Plotly.newPlot`."""

    name: str
    title: str
    note: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]


def charts_of(record: RunRecord) -> list[Chart]:
    """Return the charts that have something to show."""
    slices = record.slices.slices
    charts: list[Chart] = []
    if slices:
        charts += [_rows(record), _permits(record), _requests(record)]
    if record.latencies.total.count:
        charts += [_latency(record)]
    if record.counts.completion_tokens:
        charts += [_tokens(record), _lengths(record)]
    if record.finish_reasons:
        charts += [_finish_reasons(record)]
    return charts


def _rows(record: RunRecord) -> Chart:
    data = [_area("answered", "--blue", record, lambda one: one.finished)]
    if record.counts.failed:
        data.append(_line("failed", "--red", record, lambda one: one.failed))
    return Chart("rows", "Rows over time", "rows per second", data, _time_layout())


def _permits(record: RunRecord) -> Chart:
    values, permits = list[int](), record.permits
    for one in record.slices.slices:
        permits = permits if one.permits is None else one.permits
        values.append(permits)
    trace = _trace("permits", "--violet", [*_starts(record), _end(record)], [*values, values[-1]], shape="hv")
    return Chart("permits", "Permits", "requests that may be in flight", [trace], _time_layout())


def _requests(record: RunRecord) -> Chart:
    data = [
        _line("answered", "--blue", record, lambda one: one.finished),
        _line("refused", "--orange", record, lambda one: one.refused),
        _line("other errors", "--red", record, lambda one: one.errors),
    ]
    rates = list(_rates(record))
    if any(rate is not None for rate in rates):
        pace = _trace("pace", "--ink-2", *_over_time(record, rates), shape="hv")
        pace["line"]["dash"] = "dot"
        data.append(pace)
    return Chart("requests", "Pace and refusals", "per second, and the limit", data, _time_layout())


def _latency(record: RunRecord) -> Chart:
    data: list[dict[str, Any]] = []
    for name, percent, colour in (("95th percentile", 95, "--orange"), ("median", 50, "--blue")):
        values = [one.total.percentile(percent) for one in record.slices.slices]
        data.append(_trace(name, colour, *_over_time(record, values)))
    return Chart("latency", "Latency", "from the request to the whole answer", data, _time_layout("s"))


def _tokens(record: RunRecord) -> Chart:
    data = [
        _line("in", "--teal", record, lambda one: one.prompt_tokens),
        _line("out", "--blue", record, lambda one: one.completion_tokens),
    ]
    return Chart("tokens", "Tokens over time", "tokens per second", data, _time_layout())


def _lengths(record: RunRecord) -> Chart:
    bars = list(record.answer_tokens.bars(_BARS))
    labels = [f"{low:,.0f} to {high:,.0f}" if high - low > 1 else f"{high:,.0f}" for low, high, _ in bars]
    counts = [count for *_, count in bars]
    trace = {
        "type": "bar",
        "x": [f"{(low * high) ** 0.5:,.0f}" for low, high, _ in bars],
        "y": counts,
        "customdata": labels,
        "hovertemplate": "%{customdata} tokens: %{y:,} answers<extra></extra>",
        "marker": {"color": "--teal"},
    }
    x_axis = {"type": "category", "nticks": 8, "title": {"text": "tokens of the answer"}}
    layout = {"xaxis": x_axis, "yaxis": _count_axis(counts), "bargap": 0.05}
    return Chart("lengths", "Answer lengths", "number of answers", [trace], layout)


def _finish_reasons(record: RunRecord) -> Chart:
    reasons = sorted(record.finish_reasons.items(), key=lambda item: item[1])
    counts = [count for _, count in reasons]
    trace = {
        "type": "bar",
        "orientation": "h",
        "x": counts,
        "y": [name.replace("_", " ") for name, _ in reasons],
        "text": [f"{count:,}" for count in counts],
        "textposition": "auto",
        "hoverinfo": "skip",
        "marker": {"color": ["--blue" if name in ("stop", "tool_calls") else "--orange" for name, _ in reasons]},
    }
    layout = {
        "xaxis": _count_axis(counts),
        "yaxis": {"type": "category", "automargin": True},
        "bargap": 0.35,
    }
    return Chart("finish", "Finish reasons", "number of answers of this run", [trace], layout)


# Parts of charts


def _time_layout(unit: str = "") -> dict[str, Any]:
    y_axis: dict[str, Any] = {"rangemode": "tozero"}
    if unit:
        y_axis |= {"ticksuffix": f" {unit}", "exponentformat": "none"}
    return {"xaxis": {"type": "date", "nticks": 5, "tickangle": 0}, "yaxis": y_axis, "hovermode": "x unified"}


def _count_axis(counts: Sequence[int]) -> dict[str, Any]:
    """An axis from 0. Small counts have no ticks between whole numbers."""
    return {"rangemode": "tozero", **({"dtick": 1} if max(counts) < _FEW else {})}


def _area(name: str, colour: str, record: RunRecord, count: Callable[[TimeSlice], int]) -> dict[str, Any]:
    return _line(name, colour, record, count) | {"fill": "tozeroy", "fillcolor": f"{colour}-soft"}


def _line(name: str, colour: str, record: RunRecord, count: Callable[[TimeSlice], int]) -> dict[str, Any]:
    """A line of the counts per second."""
    values = [count(one) / seconds for one, seconds in zip(record.slices.slices, _durations(record), strict=True)]
    return _trace(name, colour, *_over_time(record, values))


def _trace(
    name: str, colour: str, x: Sequence[str], y: Sequence[float | None], *, shape: str = "linear"
) -> dict[str, Any]:
    """A line. Where values are missing it has a gap, and markers, so that a value between two gaps is visible."""
    y = [None if value is None else float(f"{value:.4g}") for value in y]
    mode = {"mode": "lines+markers", "marker": {"size": 4}} if None in y else {"mode": "lines"}
    return {"type": "scatter", **mode, "name": name, "x": x, "y": y, "line": {"color": colour, "shape": shape}}


def _starts(record: RunRecord) -> list[str]:
    return [_time(record, number * record.slices.seconds) for number in range(len(record.slices.slices))]


def _end(record: RunRecord) -> str:
    """The end of the run, or of the last slice that has begun."""
    return _time(record, max(record.seconds, (len(record.slices.slices) - 1) * record.slices.seconds))


def _over_time(record: RunRecord, values: Sequence[float | None]) -> tuple[Sequence[str], Sequence[float | None]]:
    """The times and the values of a line. A single value goes on until the end of the run."""
    starts = _starts(record)
    return (starts, values) if len(values) > 1 else ([*starts, _end(record)], [*values, *values])


def _time(record: RunRecord, seconds: float) -> str:
    """A time of the run, in the time zone of the machine, as plotly.js reads it."""
    began = datetime.fromisoformat(record.began_at).replace(tzinfo=None)
    return (began + timedelta(seconds=seconds)).isoformat(sep=" ", timespec="milliseconds")


def _durations(record: RunRecord) -> Iterator[float]:
    """How long each slice took, in seconds."""
    width, count = record.slices.seconds, len(record.slices.slices)
    for number in range(count):
        part = width if number < count - 1 else record.seconds - number * width
        yield min(max(part, width * _LEAST_PART), width)


def _rates(record: RunRecord) -> Iterator[float | None]:
    rate: float | None = None
    for one in record.slices.slices:
        if one.permits is not None:
            rate = one.rate
        yield rate
