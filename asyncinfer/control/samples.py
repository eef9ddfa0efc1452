"""Turns the results of attempts into samples, in the order in which the attempts were sent.

A sample is one attempt together with its result. An attempt counts as

- *accepted*, when a response with any status arrives that is not a refusal;
- *accepted*, too, when it has been pending for three times as long as a refusal takes. An endpoint refuses at once or
  not at all, so the controller does not wait for slow answers;
- *refused*, when the response says that the endpoint is busy or that a limit is reached (`RequestError.is_overload`);
- neither accepted nor refused, when it is cancelled, times out or loses its connection. It is not a sample then.

An attempt that counted as accepted while it was pending, and is refused later, is counted a second time, as refused.
"""

from __future__ import annotations

from collections import deque

from asyncinfer.control.permit import AttemptResult, Permit

# A pending attempt counts as accepted after `_REFUSAL_TIMES` times the time that a refusal takes, but not before
# `_SHORTEST_PENDING` seconds. Until the first refusal, it counts as accepted after `_PENDING` seconds.
_REFUSAL_TIMES, _SHORTEST_PENDING, _PENDING = 3.0, 0.02, 0.25


class SampleQueue:
    """Holds attempts until all earlier ones have a result.

    Refusals often arrive before the answers to earlier attempts. Counted in order of arrival, they would look more
    frequent than they are.
    """

    def __init__(self) -> None:
        self._pending: deque[Permit] = deque()
        self._patience = _PENDING

    def add(self, permit: Permit) -> None:
        """An attempt starts."""
        self._pending.append(permit)

    def set_refusal_time(self, seconds: float) -> None:
        """Note how many seconds a refusal takes to arrive. An attempt that is pending for much longer was accepted."""
        self._patience = max(_SHORTEST_PENDING, _REFUSAL_TIMES * seconds)

    def pop(self, now: float) -> Permit | None:
        """The next sample; None if the oldest attempt may still be refused. Skips attempts of unknown result."""
        pending = self._pending
        while pending:
            permit = pending[0]
            result = permit.result
            if result is AttemptResult.PENDING and permit.sent > now - self._patience:
                return None
            pending.popleft()
            permit.is_counted = True
            if result is not AttemptResult.UNKNOWN:
                return permit
        return None
