"""How often Python's collector looks, and at what, while runs are under way and while models are loaded."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from asyncinfer.aio.gc_tuning import loading, relaxed_gc, settle


@pytest.fixture(autouse=True)
def usual() -> Iterator[tuple[int, int, int]]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield (700, 10, 10)
    gc.unfreeze()
    gc.set_threshold(*before)


def test_the_last_of_several_restores_what_was_set(usual: tuple[int, int, int]) -> None:
    with relaxed_gc():
        with loading():
            with relaxed_gc():
                assert gc.get_threshold() == (50_000, 10**6, 10**6)
            assert gc.get_threshold() == (50_000, 10**6, 10**6)
        assert gc.get_threshold() == (20_000, 10, 10)
    assert gc.get_threshold() == usual


def test_a_threshold_that_somebody_sets_meanwhile_stays() -> None:
    with relaxed_gc():
        gc.set_threshold(5)
        with loading():
            assert gc.get_threshold()[0] == 5
    assert gc.get_threshold()[0] == 5


def test_a_collector_that_is_off_stays_off() -> None:
    gc.set_threshold(0)
    with relaxed_gc(), loading():
        assert gc.get_threshold()[0] == 0
    assert gc.get_threshold()[0] == 0


def test_what_a_model_brings_counts_as_old_afterwards() -> None:
    with loading():
        kept = [[number] for number in range(5_000)]
        assert gc.get_count()[0] >= len(kept)
    assert gc.get_count()[0] < len(kept)
    assert gc.get_freeze_count() == 0


def test_what_has_settled_is_not_even_looked_at_when_a_library_collects() -> None:
    class Node:
        me: Node

    node = Node()
    node.me = node
    gone = weakref.ref(node)
    with loading():
        settle()
        del node
        gc.collect()
        assert gone() is not None
    gc.collect()
    assert gone() is None


def test_two_models_at_once_settle_until_both_are_loaded() -> None:
    with loading():
        with loading():
            settle()
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_what_somebody_else_has_put_out_of_sight_stays_there() -> None:
    gc.freeze()
    with loading():
        settle()
    assert gc.get_freeze_count() > 0


def test_nothing_settles_while_nothing_is_loaded() -> None:
    settle()
    assert gc.get_freeze_count() == 0
