"""How an answer is generated."""

from __future__ import annotations

import warnings
from typing import Annotated, Any

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from asyncinfer.config.base import Params

Fraction = Annotated[float, Field(ge=0, le=1)]
Bias = Annotated[float, Field(ge=-100, le=100)]

with warnings.catch_warnings():
    # The seed's key is `json`; it hides a deprecated method of pydantic's that nobody calls here.
    warnings.filterwarnings("ignore", message='Field name "json"')

    class GuidedDecodingParams(Params):
        """Holds the output to a JSON schema, a regular expression, or one of several choices: one of the three."""

        json: Any = None  # pyright: ignore[reportIncompatibleMethodOverride]
        """A JSON schema as a dict or text, or a pydantic model class."""
        regex: str | None = None
        choice: Annotated[list[str], Field(min_length=1)] | None = None
        strict: bool = False
        """Ask the API to hold to the schema strictly, where it makes a difference there."""

        @model_validator(mode="after")
        def _one_of_three(self) -> GuidedDecodingParams:
            given = [name for name in ("json", "regex", "choice") if getattr(self, name) is not None]
            if len(given) > 1:
                raise ValueError(f"{' and '.join(given)} exclude each other")
            return self


class GenerationParams(Params):
    """Sampling and limits. Not every engine heeds every one: `get_supported_params()` names those it does."""

    max_new_tokens: PositiveInt = 1024
    batch_size: PositiveInt | None = None
    """Rows in one batch of a local engine; None lets the engine choose."""
    exclude_prompt_from_response: bool = True
    seed: int | None = None
    temperature: NonNegativeFloat = 0.0
    """0 always takes the likeliest token."""
    top_p: Fraction | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    stop_strings: list[str] | None = None
    stop_token_ids: list[NonNegativeInt] | None = None
    logit_bias: dict[int | str, Bias] = Field(default_factory=dict[int | str, float])
    """Added to a token's logit, by token id; -100 bans it."""
    min_p: Fraction = 0.0
    use_cache: bool = True
    num_beams: PositiveInt = 1
    use_sampling: bool = False
    guided_decoding: GuidedDecodingParams | None = None
    skip_special_tokens: bool = True
    tool_choice: str | dict[str, Any] | None = None
    """`none`, `auto`, `required`, or `{"type": "function", "function": {"name": ...}}`."""
    parallel_tool_calls: bool = True
