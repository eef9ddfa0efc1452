"""How one endpoint is reached, where a run uses several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, PlainSerializer, SecretStr, model_validator

from asyncinfer.config.base import Params, Positive
from asyncinfer.config.cost import CostPerMillion
from asyncinfer.config.headers import Headers
from asyncinfer.types.field_types import NONE, Accepts
from asyncinfer.types.masking import mask_url, masked_if_secret

# A URL whose credentials are masked in its repr and in JSON.
Url = Annotated[str, AfterValidator(masked_if_secret), PlainSerializer(mask_url, when_used="json-unless-none")]

if TYPE_CHECKING:
    ApiKey = Accepts[SecretStr | None, SecretStr | str | None]
    HeaderValues = Accepts[dict[str, SecretStr], Mapping[str, SecretStr | str | int | float] | None]
else:
    ApiKey, HeaderValues = SecretStr | None, Headers


def no_headers() -> Any:
    """Return the default of a field of headers."""
    return {}


class EndpointParams(Params):
    """One of several endpoints that serve the same model. What is not set comes from the other remote parameters."""

    api_url: Url | None = Field(default=None, kw_only=False)
    """The endpoint; null: the default of the engine. No message, log or dump shows its credentials."""
    api_key: ApiKey = NONE
    """The API key. No message, log or dump shows it."""
    api_key_env_varname: str | None = None
    """The environment variable that holds the key."""
    model_name: str | None = None
    """The endpoint's own name of the model; null: `model.model_name`."""
    weight: Positive = 1.0
    """An endpoint of weight 2 gets twice as many requests as one of weight 1, as far as it accepts them."""
    fallback: bool = False
    """Use the endpoint only while no other one works. An endpoint that is busy works."""
    headers: HeaderValues = Field(default_factory=no_headers)
    """HTTP headers for this endpoint, in addition to those for all endpoints."""
    cost_per_million: CostPerMillion | None = None
    """US dollars per million tokens at this endpoint; null: as for all endpoints."""

    @model_validator(mode="before")
    @classmethod
    def _from_url(cls, value: Any) -> Any:
        """Accept a URL in place of a mapping."""
        return {"api_url": value} if isinstance(value, str) else value


if TYPE_CHECKING:
    Endpoints = Accepts[list[EndpointParams], Sequence[EndpointParams | Mapping[str, Any] | str]]
else:
    Endpoints = list[EndpointParams]


def no_endpoints() -> Any:
    """Return the default of a field of endpoints."""
    return []
