"""The settings of the garbage collector during runs and while models are loaded."""

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
    gc.unfreeze()  # The items of the session are frozen.
    yield (700, 10, 10)
    gc.freeze()
    gc.set_threshold(*before)


def test_last_block_restores_the_thresholds(usual: tuple[int, int, int]) -> None:
    with relaxed_gc():
        with loading():
            with relaxed_gc():
                assert gc.get_threshold() == (50_000, 10**6, 10**6)
            assert gc.get_threshold() == (50_000, 10**6, 10**6)
        assert gc.get_threshold() == (20_000, 10, 10)
    assert gc.get_threshold() == usual


def test_threshold_that_other_code_sets_is_kept() -> None:
    with relaxed_gc():
        gc.set_threshold(5)
        with loading():
            assert gc.get_threshold()[0] == 5
    assert gc.get_threshold()[0] == 5


def test_disabled_collector_stays_disabled() -> None:
    gc.set_threshold(0)
    with relaxed_gc(), loading():
        assert gc.get_threshold()[0] == 0
    assert gc.get_threshold()[0] == 0


def test_objects_of_a_loaded_model_are_in_the_oldest_generation() -> None:
    with loading():
        kept = [[number] for number in range(5_000)]
        assert gc.get_count()[0] >= len(kept)
    assert gc.get_count()[0] < len(kept)
    assert gc.get_freeze_count() == 0


def test_settled_objects_are_not_collected_by_a_library() -> None:
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


def test_objects_stay_frozen_until_both_models_are_loaded() -> None:
    with loading():
        with loading():
            settle()
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_objects_that_other_code_has_frozen_stay_frozen() -> None:
    gc.freeze()
    with loading():
        settle()
    assert gc.get_freeze_count() > 0


def test_settle_does_nothing_while_no_model_is_loaded() -> None:
    settle()
    assert gc.get_freeze_count() == 0
