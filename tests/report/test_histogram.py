"""Histograms and time slices: exact enough, and of a bounded size."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.report.histogram import Histogram
from asyncinfer.report.slices import MOST_SLICES, TimeSlices

VALUES = st.lists(st.floats(min_value=1e-3, max_value=1e5), min_size=1, max_size=200)


def histogram(values: list[float]) -> Histogram:
    made = Histogram()
    for value in values:
        made.add(value)
    return made


@given(VALUES, st.integers(1, 100))
def test_percentile_is_within_five_percent_of_the_exact_one(values: list[float], percent: int) -> None:
    exact = sorted(values)[-(-len(values) * percent // 100) - 1]
    assert histogram(values).percentile(percent) == pytest.approx(exact, rel=0.05)


@given(VALUES, VALUES)
def test_merged_histogram_is_that_of_all_values(first: list[float], second: list[float]) -> None:
    merged = histogram(first)
    merged.merge(histogram(second))
    both = histogram([*first, *second])
    assert (merged.buckets, merged.count, merged.largest) == (both.buckets, both.count, both.largest)


@given(VALUES)
def test_bars_contain_every_value_once(values: list[float]) -> None:
    bars = list(histogram(values).bars(10))
    assert len(bars) <= 10
    assert sum(count for *_, count in bars) == len(values)


def test_histogram_without_values_has_no_percentile() -> None:
    assert Histogram().percentile(50) is None
    assert list(Histogram().bars(10)) == []


def test_zero_is_counted() -> None:
    assert histogram([0.0]).percentile(50) == 0.0


def test_slices_get_longer_as_the_run_does() -> None:
    slices = TimeSlices()
    for second in range(100_000):
        slices.at(float(second)).finished += 1
    assert len(slices.slices) <= MOST_SLICES
    assert slices.seconds * MOST_SLICES >= 100_000
    assert sum(one.finished for one in slices.slices) == 100_000
    assert max(one.finished for one in slices.slices) <= slices.seconds + 1


def test_a_merged_slice_has_the_later_permits_and_all_latencies() -> None:
    slices = TimeSlices(seconds=1.0)
    for second in range(MOST_SLICES + 1):
        one = slices.at(second)
        one.permits = second
        one.total.add(random.uniform(0.1, 1))
    assert [one.permits for one in slices.slices[:3]] == [1, 3, 5]
    assert sum(one.total.count for one in slices.slices) == MOST_SLICES + 1
