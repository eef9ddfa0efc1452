"""What is reported to OpenTelemetry."""

from __future__ import annotations

from asyncinfer.config.base import Params


class TelemetryParams(Params):
    """Spans and metrics of OpenTelemetry, by its conventions for generative AI. They need the extra `otel`."""

    capture_content: bool | None = None
    """Add the messages and the answers of single calls to their spans; null: if the environment variable
    `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` is `span_only`, `span_and_event` or `true`."""
