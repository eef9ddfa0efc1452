"""The temperatures that local models can compute with."""

from __future__ import annotations

# Dividing a score by less than this may overflow a float. (vLLM would raise a temperature below 0.01 to 0.01.)
MIN_TEMPERATURE = 1e-5
# At a higher temperature all tokens are equally likely anyway, and 32-bit floats in native code would overflow.
MAX_TEMPERATURE = 1e6


def effective_temperature(temperature: float | None) -> float:
    """The temperature to sample with. 0 means the likeliest token, also for temperatures too small to divide by.

    Args:
        temperature: None means 1, which does not change the model's probabilities.
    """
    if temperature is None:
        return 1.0
    return min(temperature, MAX_TEMPERATURE) if temperature >= MIN_TEMPERATURE else 0.0
