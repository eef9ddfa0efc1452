"""The tracing of calls by OpenTelemetry, as an engine or the configuration of a call asks for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from asyncinfer.config import TelemetryParams
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.tracing import CallTracing

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

# Makes what traces the calls with one configuration. Its first argument is the type of the engine.
TracingFactory = Callable[[str, EngineAccess], CallTracing]


def tracing_of(
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    *,
    capture_content: bool | None = None,
) -> TracingFactory:
    """Return what makes the tracing of calls.

    Args:
        tracer_provider: Gets the spans. By default, the one of the process.
        meter_provider: Gets the metrics. By default, the one of the process.
        capture_content: Add the messages and the answers of single calls to their spans. None: if the environment
            variable `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` says so.

    Raises:
        MissingDependencyError: OpenTelemetry is not installed.
    """
    from asyncinfer.telemetry.content import is_captured
    from asyncinfer.telemetry.instruments import instruments_of

    instruments = instruments_of(tracer_provider, meter_provider)
    captures = is_captured() if capture_content is None else capture_content

    def new_tracing(engine_type: str, access: EngineAccess) -> CallTracing:
        from asyncinfer.telemetry.tracing import OpenTelemetryTracing

        return OpenTelemetryTracing(instruments, engine_type, access, capture_content=captures)

    return new_tracing


def traced(
    access: EngineAccess, engine_type: str, of_engine: TracingFactory | None, params: TelemetryParams | None
) -> EngineAccess:
    """Return `access`, with tracing if the engine or the call asks for it.

    Args:
        of_engine: The tracing of the engine, which takes precedence; None if it has none.
        params: The setting `telemetry` of the call.

    Raises:
        MissingDependencyError: OpenTelemetry is not installed.
    """
    factory = of_engine
    if factory is None and params is not None:
        factory = tracing_of(capture_content=params.capture_content)
    return access if factory is None else replace(access, tracing=factory(engine_type, access))
