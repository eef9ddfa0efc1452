"""What counts the cost of a run, as its configuration and its endpoints ask for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from asyncinfer.config import InferenceConfig
from asyncinfer.providers.prices import PricedEndpoint
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.spending import Spending, SpendingLimits


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
    own = config.cost_per_million
    has_limit = config.max_cost is not None or config.max_tokens is not None
    has_price = own is not None or any(one.provider or one.url or one.own for one in endpoints.values())
    if not has_limit and not has_price:
        return None
    return Spending(endpoints, own, access.generation_of, SpendingLimits(config.max_cost, config.max_tokens), now)
