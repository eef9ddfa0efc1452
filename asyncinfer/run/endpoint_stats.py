"""What each of several endpoints did in a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from asyncinfer.errors import RequestError
from asyncinfer.run.events import AttemptFailed, RowFinished
from asyncinfer.types.results import EndpointSummary

Problems = Callable[[], Mapping[str, str | None]]


def one_endpoint() -> Mapping[str, str | None]:
    """The problems of an engine with only one endpoint."""
    return {}


class EndpointStats:
    """Counts the attempts of a run by endpoint. The attempts of an engine with one endpoint are not counted here.

    Args:
        problems: Returns why each of several endpoints is put aside, by its name; None if it is in use.
    """

    def __init__(self, problems: Problems = one_endpoint) -> None:
        self._problems = problems
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

    def summaries(self) -> list[EndpointSummary]:
        """The counts of each endpoint, and why it is put aside."""
        return [
            replace(self._counts.get(name, EndpointSummary(name)), problem=problem)
            for name, problem in self._problems().items()
        ]

    def _count(self, name: str, *, answered: int = 0, refused: int = 0, failed: int = 0) -> None:
        before = self._counts.get(name, EndpointSummary(name))
        self._counts[name] = EndpointSummary(
            name, before.answered + answered, before.attempts + 1, before.refused + refused, before.failed + failed
        )
