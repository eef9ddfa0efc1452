"""The tracer and the histograms of OpenTelemetry that all calls share."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from asyncinfer.errors import MissingDependencyError
from asyncinfer.telemetry.attributes import INPUT_TOKENS, OUTPUT_TOKENS, TOKEN_TYPE, Attributes

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, MeterProvider
    from opentelemetry.trace import Tracer, TracerProvider

_NAME = "asyncinfer"
_VERSION = version(_NAME)
_SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
# The boundaries of the buckets that the conventions recommend.
_TOKENS = [4.0**power for power in range(14)]
_SECONDS = [0.01 * 2**power for power in range(14)]


class Instruments:
    """A tracer, and the histograms of durations and tokens."""

    def __init__(self, tracer: Tracer, durations: Histogram, tokens: Histogram) -> None:
        self.tracer, self._durations, self._tokens = tracer, durations, tokens

    def record(self, seconds: float, attributes: Attributes, usage: Attributes) -> None:
        """Record the duration and the tokens of one call.

        Args:
            attributes: The attributes of the metrics.
            usage: The numbers of tokens, as `usage_attributes` names them.
        """
        self._durations.record(seconds, attributes)
        for kind, name in (("input", INPUT_TOKENS), ("output", OUTPUT_TOKENS)):
            if name in usage:
                self._tokens.record(usage[name], {**attributes, TOKEN_TYPE: kind})


@lru_cache(maxsize=16)
def instruments_of(
    tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> Instruments:
    """Return the instruments of these providers; by default, those of the process.

    Raises:
        MissingDependencyError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry import metrics, trace
    except ImportError:
        raise MissingDependencyError("opentelemetry-api", "otel") from None
    tracer = trace.get_tracer(_NAME, _VERSION, tracer_provider, _SCHEMA)
    meter = metrics.get_meter(_NAME, _VERSION, meter_provider, _SCHEMA)
    durations = meter.create_histogram(
        "gen_ai.client.operation.duration",
        unit="s",
        description="GenAI operation duration.",
        explicit_bucket_boundaries_advisory=_SECONDS,
    )
    tokens = meter.create_histogram(
        "gen_ai.client.token.usage",
        unit="{token}",
        description="Number of input and output tokens used.",
        explicit_bucket_boundaries_advisory=_TOKENS,
    )
    return Instruments(tracer, durations, tokens)
