"""Spans and metrics of OpenTelemetry, by its semantic conventions for generative AI.

The names are those of the conventions 1.44.0, as `opentelemetry-semantic-conventions` 0.66b2 (November 2026) has them;
the meaning is that of https://opentelemetry.io/docs/specs/semconv/gen-ai/ (spans and metrics). They are in development:
newer versions are kept in https://github.com/open-telemetry/semantic-conventions-genai. Nothing is reported unless an
engine is instrumented, and nothing of the process is changed: the program chooses the providers.
"""
