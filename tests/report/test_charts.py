"""The charts of short, slow and small runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from asyncinfer.report.charts import charts_of
from asyncinfer.report.page import save_page
from asyncinfer.report.record import Counts, RunRecord, Sample, SampleMessage

BEGAN = "2026-11-27T10:00:00+00:00"


def record_of(seconds: float, *answered_at: float) -> RunRecord:
    """The record of a run in which rows were answered at these times."""
    record = RunRecord(name="run", began_at=BEGAN, seconds=seconds, permits=8)
    for at in answered_at:
        one = record.slices.at(at)
        one.finished += 1
        one.completion_tokens += 4
        one.total.add(0.1)
        record.latencies.total.add(0.1)
        record.answer_tokens.add(4)
        record.finish_reasons["stop"] = record.finish_reasons.get("stop", 0) + 1
    record.counts = Counts(completion_tokens=4 * len(answered_at))
    return record


def chart(record: RunRecord, name: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    [found] = [one for one in charts_of(record) if one.name == name]
    return found.data, found.layout


def test_lines_of_a_run_of_one_slice_go_from_its_start_to_its_end() -> None:
    record = record_of(0.2, 0.1)
    for name in ("rows", "permits", "requests", "latency", "tokens"):
        for line in chart(record, name)[0]:
            assert line["x"] == ["2026-11-27 10:00:00.000", "2026-11-27 10:00:00.200"], name
            assert line["y"][0] == line["y"][1], name


def test_latency_between_two_gaps_is_a_point_and_no_line_crosses_a_gap() -> None:
    line = chart(record_of(2.0, 0.1, 1.0), "latency")[0][0]
    assert [value is None for value in line["y"]] == [False, True, True, True, False]
    assert line["mode"] == "lines+markers"
    assert "connectgaps" not in line


def test_small_counts_have_no_ticks_between_whole_numbers() -> None:
    assert chart(record_of(1.0, 0.1), "finish")[1]["xaxis"]["dtick"] == 1
    assert chart(record_of(1.0, 0.1), "lengths")[1]["yaxis"]["dtick"] == 1
    assert "dtick" not in chart(record_of(1.0, *([0.1] * 50)), "finish")[1]["xaxis"]


def test_short_latencies_have_no_prefix_before_their_unit() -> None:
    axis = chart(record_of(1.0, 0.1), "latency")[1]["yaxis"]
    assert (axis["ticksuffix"], axis["exponentformat"]) == (" s", "none")


def test_page_has_no_characters_that_turn_the_order_of_letters_around(tmp_path: Path) -> None:
    record = record_of(1.0)
    record.samples = [Sample(row=0, messages=[SampleMessage(role="assistant", text="a\u202eb\u202dc")])]
    save_page(record, tmp_path / "report.html")
    assert "a\ufffdb\ufffdc" in (tmp_path / "report.html").read_text()


def test_run_with_failed_rows_is_not_shown_as_a_full_success(tmp_path: Path) -> None:
    record = record_of(1.0)
    record.state, record.counts = "finished", replace(record.counts, failed=3)
    save_page(record, tmp_path / "report.html")
    assert 'class="state finished incomplete"' in (tmp_path / "report.html").read_text()
