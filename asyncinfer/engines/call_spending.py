"""What counts the cost of a run, as its configuration and its endpoints ask for it."""

from __future__ import annotations

from collections.abc import Callable

from asyncinfer.config import InferenceConfig
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.budget import SpendingLimits
from asyncinfer.run.pricing import Pricing
from asyncinfer.run.spending import Spending


def spending_of(config: InferenceConfig, access: EngineAccess, pricing: Callable[[], Pricing]) -> Spending | None:
    """Return what counts the cost of a run; None if its answers cost nothing and there is no limit.

    Args:
        pricing: Makes the prices for limits on answers that cost nothing.
    """
    limits = SpendingLimits(config.max_cost, config.max_tokens)
    if access.pricing is None and limits == SpendingLimits():
        return None
    return Spending(access.pricing or pricing(), access.generation_of, limits)
