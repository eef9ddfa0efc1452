"""What a mode asks the pacer to do after a sample."""

from __future__ import annotations

from enum import Enum, auto
from math import inf
from typing import NamedTuple

from asyncinfer.control.pacing.evidence import Trial
from asyncinfer.control.pacing.noise import Noise


class Confidence(Enum):
    """How well a rate is known to be what the endpoint accepts. CRUISE raises a well-known rate in small steps."""

    HIGH = auto()
    MEDIUM = auto()
    LOW = auto()


class NewTrial(NamedTuple):
    """Stay in the mode, and count attempts from zero at `rate`."""

    rate: float | None


class StartOpen(NamedTuple):
    """Go to OPEN, where `noise` is expected."""

    noise: Noise


class StartTest(NamedTuple):
    """Go to TEST at `rate`, with no attempt before `not_before`.

    Args:
        before: The attempts that led to the test. If their refusals are noise, they are as frequent in the test.
        is_measured: Whether the rate was accepted for long enough to be known.
        doubted: The noise that was found before, and is looked for again.
    """

    rate: float
    before: Trial
    is_measured: bool = False
    doubted: Noise | None = None
    not_before: float = -inf


class StartCruise(NamedTuple):
    """Go to CRUISE at `rate`."""

    rate: float
    confidence: Confidence


class StartClosed(NamedTuple):
    """Go to CLOSED, since everything is refused at `rate`."""

    rate: float


class Reopen(NamedTuple):
    """Leave CLOSED: the endpoint accepts attempts again, after a stop of `stopped` seconds."""

    stopped: float


Transition = NewTrial | StartOpen | StartTest | StartCruise | StartClosed | Reopen
