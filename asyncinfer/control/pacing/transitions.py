"""What a mode asks the pacer to do after a sample."""

from __future__ import annotations

from enum import Enum, auto
from math import inf
from typing import NamedTuple

from asyncinfer.control.pacing.evidence import AttemptCounts
from asyncinfer.control.pacing.noise import Noise


class Confidence(Enum):
    """How certain it is that the endpoint accepts a rate, and no higher one. CRUISE raises a certain rate slowly."""

    HIGH = auto()
    MEDIUM = auto()
    LOW = auto()


class SetRate(NamedTuple):
    """Stay in the mode, send at `rate` (None: no limit), and count attempts from zero."""

    rate: float | None


class StartOpen(NamedTuple):
    """Go to OPEN, where `noise` is expected."""

    noise: Noise


class StartTrial(NamedTuple):
    """Go to TRIAL at `rate`.

    Args:
        rate: Attempts per second.
        before: The attempts that led to the trial. If their refusals are noise, they are as frequent in the trial.
        is_measured: Whether the endpoint accepted the rate for long enough to know it.
        earlier_noise: The noise that was found before, if the trial checks it.
        not_before: When the first attempt may start.
    """

    rate: float
    before: AttemptCounts
    is_measured: bool = False
    earlier_noise: Noise | None = None
    not_before: float = -inf


class StartCruise(NamedTuple):
    """Go to CRUISE at `rate`."""

    rate: float
    confidence: Confidence


class StartClosed(NamedTuple):
    """Go to CLOSED, because the endpoint refused everything at `rate`."""

    rate: float


class Reopen(NamedTuple):
    """Leave CLOSED: the endpoint accepts attempts again, after a stop of `stopped` seconds."""

    stopped: float


Transition = SetRate | StartOpen | StartTrial | StartCruise | StartClosed | Reopen
