"""The metrics of a server, in Prometheus' text format.

Source: `generate_latest` of prometheus-client, which writes the text exposition format 1.0.0, November 2026.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asyncinfer.errors import MissingDependencyError
from asyncinfer.run.semaphore import AdaptiveSemaphore
from asyncinfer.serve.admission import Admission
from asyncinfer.types.usage import Usage

try:
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
except ImportError as error:
    raise MissingDependencyError("prometheus-client", "serve") from error

# The upper bounds of the latencies that are counted (seconds).
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
_TOKEN_KINDS = ("prompt", "completion", "cached")


class Metrics:
    """Counts the requests, tokens and latencies of one server."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "asyncinfer_requests", "Requests, by route and status.", ("route", "status"), registry=registry
        )
        tokens = Counter("asyncinfer_tokens", "Tokens of all answers, by kind.", ("kind",), registry=registry)
        self._tokens = {kind: tokens.labels(kind) for kind in _TOKEN_KINDS}
        self._seconds = self._histogram("asyncinfer_request_seconds", "Time from a request to the end of its response.")
        self._first_delta = self._histogram(
            "asyncinfer_first_token_seconds", "Time from a request to the first part of a streamed answer."
        )
        self._children: dict[tuple[Any, ...], Any] = {}

    def watch_queues(self, admission: Admission, semaphore: AdaptiveSemaphore) -> None:
        """Add gauges for the slots of a server and the permits of its engine. Each read of the metrics updates them."""
        watch = self._watch
        watch("asyncinfer_answers_in_progress", "Answers in progress.", lambda: admission.in_use)
        watch("asyncinfer_requests_waiting", "Requests that wait for a slot.", lambda: admission.waiting)
        watch("asyncinfer_slots", "Maximum number of answers in progress.", lambda: admission.slots)
        watch("asyncinfer_engine_permits", "Requests that the engine allows in flight.", lambda: semaphore.limit)
        watch("asyncinfer_engine_permits_in_use", "Requests of the engine in flight.", lambda: semaphore.in_use)
        watch("asyncinfer_engine_waiting", "Calls that wait for a permit of the engine.", lambda: semaphore.waiting)

    def finished(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._child(self._requests, route, status).inc()
        self._child(self._seconds, route).observe(seconds)

    def first_delta(self, route: str, seconds: float) -> None:
        """Count the time until the first part of a streamed answer."""
        self._child(self._first_delta, route).observe(seconds)

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

    def _watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        Gauge(name, text, registry=self._registry).set_function(value)

    def _child(self, metric: Any, *labels: str | int) -> Any:
        """Return the series of a metric with these labels. `labels` of prometheus-client takes a lock each time."""
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child
