"""What counts the cost of a run, as its configuration and its endpoints ask for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from asyncinfer.config import InferenceConfig
from asyncinfer.providers.prices import PricedEndpoint
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.budget import SpendingLimits
from asyncinfer.run.pricing import Pricing
from asyncinfer.run.spending import Spending


def spending_of(
    config: InferenceConfig,
    endpoints: Mapping[str | None, PricedEndpoint],
    access: EngineAccess,
    now: Callable[[], float],
) -> Spending | None:
    """Return what counts the cost of a run; None if its answers cost nothing and there is no limit.

    Args:
        endpoints: The endpoints by name. The name is None if there is only one.
        now: Returns the seconds of a monotonic clock.
    """
    limits = SpendingLimits(config.max_cost, config.max_tokens)
    if access.pricing is None and limits == SpendingLimits():
        return None
    pricing = access.pricing or Pricing(endpoints, config.cost_per_million, now)
    return Spending(pricing, access.generation_of, limits)
