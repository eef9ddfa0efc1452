"""Which replica gets a row."""

from __future__ import annotations

from asyncinfer.distributed.routing import Routing, prefix_of
from tests.fakes import question


def routing(*replicas: str, room: int = 8) -> Routing[str]:
    made = Routing[str](room)
    for replica in replicas:
        made.add(replica)
    return made


def test_least_loaded_replica_is_chosen() -> None:
    made = routing("a", "b", "c")
    made.change("a", 2)
    made.change("c", 1)
    assert made.choose(prefix=1) == "b"


def test_replicas_with_the_same_load_take_turns() -> None:
    made, loads = routing("a", "b", "c"), dict.fromkeys("abc", 0)
    chosen: list[str | None] = []
    for prefix in range(6):
        replica = made.choose(prefix)
        assert replica is not None
        loads[replica] += 1
        made.change(replica, loads[replica])
        chosen.append(replica)
    assert chosen == ["a", "b", "c", "a", "b", "c"]


def test_rows_with_the_same_prefix_go_to_the_same_replica_while_it_is_not_much_busier() -> None:
    made = routing("a", "b", room=8)
    assert made.choose(prefix=7) == "a"
    made.change("a", 2)
    assert made.choose(prefix=7) == "a"
    made.change("a", 3)
    assert made.choose(prefix=7) == "b"


def test_no_replica_is_chosen_without_room() -> None:
    made = routing("a", "b", room=2)
    made.change("a", 2)
    made.change("b", 2)
    assert made.choose(prefix=1) is None
    made.change("b", 1)
    assert made.choose(prefix=1) == "b"


def test_removed_replica_is_not_chosen() -> None:
    made = routing("a", "b")
    assert made.choose(prefix=1) == "a"
    made.remove("a")
    made.remove("a")
    made.change("a", 1)
    assert made.choose(prefix=1) == "b"
    assert len(made) == 1
    assert "a" not in made


def test_excluded_replica_is_not_chosen_for_a_suspect() -> None:
    made = routing("a", "b")
    made.change("b", 3)
    assert made.choose_outside(["a"]) == "b"
    assert made.choose_outside(["a", "b"]) is None


def test_prefix_is_the_beginning_of_the_conversation() -> None:
    same = "You are a helpful assistant. " * 50
    assert prefix_of(question(same + "one")) == prefix_of(question(same + "two"))
    assert prefix_of(question("one")) != prefix_of(question("two"))
