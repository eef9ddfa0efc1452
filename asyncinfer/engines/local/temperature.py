"""How a temperature reads to models that run in this process."""

from __future__ import annotations

# A score divided by less than this may be beyond a float, and what is drawn then is nonsense. (vLLM would raise what is
# below 0.01 to that.)
SMALLEST = 1e-5
# At a higher temperature all tokens are equally likely anyway, and 32-bit floats in native code would overflow.
LARGEST = 1e6


def effective(temperature: float) -> float:
    """The temperature; 0, which takes the likeliest token, where it is so small that sampling would too."""
    return min(temperature, LARGEST) if temperature >= SMALLEST else 0.0
