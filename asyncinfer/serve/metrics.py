"""The metrics of a server, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asyncinfer.errors import MissingDependencyError
from asyncinfer.types.answer import Usage

try:
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
except ImportError as error:
    raise MissingDependencyError("prometheus-client", "serve") from error

# The upper bounds of the latencies that are counted (seconds).
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
_KINDS = ("prompt", "completion", "cached")


class Metrics:
    """Counts the requests, tokens and latencies of one server."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "asyncinfer_requests", "Requests, by route and status.", ("route", "status"), registry=registry
        )
        tokens = Counter("asyncinfer_tokens", "Tokens of all answers, by kind.", ("kind",), registry=registry)
        self._tokens = {kind: tokens.labels(kind) for kind in _KINDS}
        self._seconds = self._histogram("asyncinfer_request_seconds", "Time from a request to the end of its response.")
        self._first_delta = self._histogram(
            "asyncinfer_first_token_seconds", "Time from a request to the first part of a streamed answer."
        )
        self._children: dict[tuple[str, int], Any] = {}
        self._latencies: dict[tuple[int, str], Any] = {}

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is read when the metrics are."""
        Gauge(name, text, registry=self._registry).set_function(value)

    def finished(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        counter = self._children.get((route, status))
        if counter is None:
            counter = self._children[route, status] = self._requests.labels(route, str(status))
        counter.inc()
        self._latency(self._seconds, route).observe(seconds)

    def first_delta(self, route: str, seconds: float) -> None:
        """Count the time until the first part of a streamed answer."""
        self._latency(self._first_delta, route).observe(seconds)

    def used(self, usage: Usage | None) -> None:
        """Count the tokens of an answer."""
        if usage is not None:
            self._tokens["prompt"].inc(usage.prompt_tokens)
            self._tokens["completion"].inc(usage.completion_tokens)
            self._tokens["cached"].inc(usage.cached_tokens or 0)

    def text(self) -> bytes:
        """Return all metrics as text."""
        return generate_latest(self._registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, ("route",), registry=self._registry, buckets=_SECONDS)

    def _latency(self, histogram: Histogram, route: str) -> Any:
        key = (id(histogram), route)
        child = self._latencies.get(key)
        if child is None:
            child = self._latencies[key] = histogram.labels(route)
        return child
