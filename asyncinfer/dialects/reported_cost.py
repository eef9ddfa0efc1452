"""The cost of a request in US dollars, as its response reports it. It takes precedence over a computed one.

Sources, November 2026:

- OpenRouter, "Usage Accounting" and `ChatUsage` of openrouter 1.3: `usage.cost` is what OpenRouter charges, in credits,
  each a US dollar. For a request with the user's own key of a provider (`is_byok`), it does not include the price of
  that provider, which is `usage.cost_details.upstream_inference_cost`.
- Perplexity, schemas `Cost` and `ResponsesCost` of its API: `usage.cost.total_cost`, with the fees of searches.
- xAI, "Cost Tracking": `usage.cost_in_usd_ticks`. A US dollar has ten thousand million ticks.
- LiteLLM, "Response Headers" of its proxy, and litellm 1.110: the header `x-litellm-response-cost`. A stream does not
  have it, because it is sent before the answer. Older versions send 0 for a model without a price, so 0 is not used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from asyncinfer.dialects.fields import object_at

_TICKS = 10**10
_HEADER = "x-litellm-response-cost"


def cost_in_usage(usage: Mapping[str, Any]) -> float | None:
    """Return the cost in the `usage` of a response; None if it reports none."""
    if (ticks := _amount(usage.get("cost_in_usd_ticks"))) is not None:
        return ticks / _TICKS
    total = _amount(object_at(usage, "cost").get("total_cost"))
    if total is not None:
        return total
    charged = _amount(usage.get("cost"))
    if charged is None or usage.get("is_byok") is not True:
        return charged
    upstream = _amount(object_at(usage, "cost_details").get("upstream_inference_cost"))
    return charged + upstream if upstream is not None else None


def cost_in_headers(headers: Mapping[str, str]) -> float | None:
    """Return the cost in the headers of a response; None if they report none."""
    given = headers.get(_HEADER)
    if not given:
        return None
    try:
        return _amount(float(given)) or None
    except ValueError:
        return None


def _amount(value: Any) -> float | None:
    """Return a number that can be a cost. A JSON number may be infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < math.inf else None
