"""Whether there is room for replicas on the machines of a cluster."""

from __future__ import annotations

import math

import pytest

from asyncinfer.distributed.placement import Needs

NODE = {"CPU": 8.0, "GPU": 2.0, "memory": 1e9}


@pytest.mark.parametrize(
    ("needs", "machines", "room"),
    [
        (Needs(1, 0, {}), [NODE], 8),
        (Needs(1, 1, {}), [NODE, NODE], 4),
        (Needs(0, 0.1, {}), [NODE], 20),
        (Needs(1, 0, {"disk": 1}), [NODE, {**NODE, "disk": 3}], 3),
        (Needs(1, 0, {}), [], 0),
        (Needs(0, 0, {}), [NODE], math.inf),
    ],
)
def test_room_is_the_number_of_replicas_that_fit(needs: Needs, machines: list[dict[str, float]], room: float) -> None:
    assert needs.room(machines) == room


def test_replica_does_not_fit_on_two_machines_together() -> None:
    assert Needs(1, 4, {}).room([NODE, NODE]) == 0


def test_texts_name_what_is_needed_and_what_there_is() -> None:
    needs = Needs(1, 0.5, {"disk": 2})
    assert str(needs) == "1 CPU, 0.5 GPU, 2 disk"
    assert needs.text({"CPU": 2.0, "memory": 1e9}) == "2 CPU, 0 GPU, 0 disk"
