"""The prices of tokens, where the user sets them."""

from __future__ import annotations

from datetime import date

from pydantic import Field, model_validator

from asyncinfer.config.base import Fraction, NonNegative, Params


class CostPerMillion(Params):
    """US dollars per million tokens. They replace the prices of the provider's price list."""

    input: NonNegative | None = None
    """The price of prompt tokens."""
    output: NonNegative | None = None
    """The price of the tokens of answers, reasoning included."""
    cached_input: NonNegative | None = None
    """The price of prompt tokens that the provider read from its cache; null: as `input`."""
    cache_write: NonNegative | None = None
    """The price of prompt tokens that the provider wrote to its cache; null: as `input`."""
    batch_discount: Fraction = 0.0
    """The discount of batch jobs: 0.5 halves all prices."""
    as_of: date | None = None
    """The day of these prices. It is shown with each cost."""
    models: dict[str, CostPerMillion] = Field(default_factory=dict[str, "CostPerMillion"])
    """Prices for single models, by name."""

    @model_validator(mode="after")
    def _check_prices(self) -> CostPerMillion:
        if (self.input is None) != (self.output is None):
            raise ValueError("input and output must both be set")
        if self.input is None and not self.models:
            raise ValueError("set input and output, or models")
        return self
