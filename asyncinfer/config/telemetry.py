"""What is reported to OpenTelemetry."""

from __future__ import annotations

from asyncinfer.config.base import Params


class TelemetryParams(Params):
    """Spans and metrics of OpenTelemetry, by its conventions for generative AI. They need the extra `otel`."""

    capture_content: bool = False
    """Add the messages and the answers of single calls to their spans."""
