"""Whether there is room for replicas on the machines of a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

# The resources of a machine that messages name, besides those that a replica needs.
_NAMED = ("CPU", "GPU")


class Needs(NamedTuple):
    """What one replica needs of one machine. Its text is for messages."""

    num_cpus: float
    num_gpus: float
    custom: Mapping[str, float]

    def room(self, machines: Iterable[Mapping[str, float]]) -> float:
        """How many replicas the machines have room for, if nothing else used them; infinite if a replica needs nothing.

        Args:
            machines: The resources of each machine, by their names.
        """
        wanted = self._wanted()
        if not wanted:
            return float("inf")
        return sum(
            min(int(machine.get(name, 0) / amount + 1e-9) for name, amount in wanted.items()) for machine in machines
        )

    def _wanted(self) -> Mapping[str, float]:
        all_of_them = {"CPU": self.num_cpus, "GPU": self.num_gpus, **self.custom}
        return {name: amount for name, amount in all_of_them.items() if amount}

    def __str__(self) -> str:
        return ", ".join(f"{amount:g} {name}" for name, amount in self._wanted().items())

    def text(self, machine: Mapping[str, float]) -> str:
        """What a machine has of the resources that matter."""
        names = dict.fromkeys([*_NAMED, *self._wanted()])
        return ", ".join(f"{machine.get(name, 0):g} {name}" for name in names)
