"""Spans and metrics of OpenTelemetry that are kept in memory."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from asyncinfer.engines.base import BaseInferenceEngine


class Collected:
    """Providers of a test, and what they got."""

    def __init__(self) -> None:
        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meter_provider = MeterProvider([self._reader])
        self.tracer = self.tracer_provider.get_tracer("test")

    def instrument(self, engine: BaseInferenceEngine, *, capture_content: bool = False) -> None:
        engine.instrument(
            tracer_provider=self.tracer_provider, meter_provider=self.meter_provider, capture_content=capture_content
        )

    def spans(self, beginning: str = "chat") -> list[ReadableSpan]:
        """The finished spans whose name begins with `beginning`, in the order of their ends."""
        return [span for span in self._exporter.get_finished_spans() if span.name.startswith(beginning)]

    def points(self, metric: str) -> list[HistogramDataPoint]:
        """The data points of a histogram."""
        data = self._reader.get_metrics_data()
        if data is None:
            return []
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for found in scope.metrics
            if found.name == metric
            for point in found.data.data_points
            if isinstance(point, HistogramDataPoint)
        ]


def attributes(of: ReadableSpan | HistogramDataPoint) -> dict[str, Any]:
    return dict(of.attributes or {})
