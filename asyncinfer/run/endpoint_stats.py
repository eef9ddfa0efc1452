"""What each of several endpoints did in a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from asyncinfer.errors import RequestError
from asyncinfer.run.events import AttemptFailed, RowFinished
from asyncinfer.types.results import EndpointSummary


class EndpointStats:
    """Counts the attempts of a run by endpoint. The attempts of an engine with one endpoint are not counted here."""

    def __init__(self) -> None:
        self._counts: dict[str, EndpointSummary] = {}

    def finished(self, event: RowFinished) -> None:
        """An endpoint answered a row."""
        if event.endpoint is not None:
            self._count(event.endpoint, answered=1)

    def failed(self, event: AttemptFailed) -> None:
        """An attempt failed."""
        if event.endpoint is not None:
            refused = isinstance(event.error, RequestError) and event.error.is_overload
            self._count(event.endpoint, refused=int(refused), failed=int(not refused))

    def summaries(self, problems: Mapping[str, str | None]) -> list[EndpointSummary]:
        """The counts of each endpoint.

        Args:
            problems: Why each endpoint is put aside, by its name; None if it is in use.
        """
        counted = ((self._counts.get(name, EndpointSummary(name)), problem) for name, problem in problems.items())
        return [replace(counts, problem=problem) for counts, problem in counted]

    def _count(self, name: str, *, answered: int = 0, refused: int = 0, failed: int = 0) -> None:
        before = self._counts.get(name, EndpointSummary(name))
        self._counts[name] = EndpointSummary(
            name, before.answered + answered, before.attempts + 1, before.refused + refused, before.failed + failed
        )
