"""A job with a price, and what its answers cost."""

from __future__ import annotations

from asyncinfer import InferenceConfig

# Each answer of a `FakeEngine` or a `Recorder` has 3 prompt tokens and 4 others: 3 + 8 = 11 millionths of a dollar.
PRICES = {"input": 1, "output": 2}
ANSWER_COST = 11e-6


def settings(**more: object) -> InferenceConfig:
    """Return the settings of a job whose answers have a price, and at most 10 tokens."""
    return InferenceConfig.model_validate({"cost_per_million": PRICES, "generation": {"max_new_tokens": 10}, **more})
