"""How an answer is generated."""

from __future__ import annotations

import warnings
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BaseModel, Field, field_serializer, field_validator, model_validator
from pydantic_core import from_json, to_json

from asyncinfer.config.base import Count, Fraction, Integer, Natural, NonNegative, Params, Real


def _token_id(key: int | str) -> int | str:
    # JSON has no numbers for keys.
    return int(key) if isinstance(key, str) and key.isdecimal() else key


TokenId = Annotated[int | str, AfterValidator(_token_id)]
Bias = Annotated[Real, Field(ge=-100, le=100)]

with warnings.catch_warnings():
    # The seed's key is `json`; it hides a deprecated method of pydantic's that nobody calls here.
    warnings.filterwarnings("ignore", message='Field name "json"')

    class GuidedDecodingParams(Params):
        """Holds the output to a JSON schema, a regular expression, or one of several choices: one of the three."""

        json: Any = None  # pyright: ignore[reportIncompatibleMethodOverride]
        """A JSON schema as a dict or JSON text, or a pydantic model class."""
        regex: str | None = None
        """A regular expression that the whole output matches."""
        choice: Annotated[list[str], Field(min_length=1)] | None = None
        """The texts of which the output is one."""
        strict: bool = False
        """Ask the API to hold to the schema strictly, where it makes a difference there."""

        @field_validator("json")
        @classmethod
        def _is_a_schema(cls, schema: Any) -> Any:
            if schema is None or _is_model(schema):
                return schema
            if not isinstance(_from_text(schema), dict):
                raise ValueError("should be a JSON schema, as a mapping or as JSON text, or a pydantic model class")
            try:
                to_json(_from_text(schema))
            except ValueError as error:
                raise ValueError(f"cannot be written as JSON: {error}") from error
            return schema

        @field_serializer("json", when_used="json")
        def _written(self, schema: Any) -> Any:
            return self.schema_dict() if _is_model(schema) else schema

        def schema_dict(self) -> dict[str, Any] | None:
            """The JSON schema of `json`, in whichever form it was given."""
            if _is_model(self.json):
                return cast(type[BaseModel], self.json).model_json_schema()
            return _from_text(self.json)

        @model_validator(mode="after")
        def _one_of_three(self) -> GuidedDecodingParams:
            given = [name for name in ("json", "regex", "choice") if getattr(self, name) is not None]
            if len(given) > 1:
                raise ValueError(f"{' and '.join(given)} exclude each other")
            return self


def _is_model(schema: Any) -> bool:
    return isinstance(schema, type) and issubclass(schema, BaseModel)


def _from_text(schema: Any) -> Any:
    try:
        return from_json(schema) if isinstance(schema, str) else schema
    except ValueError:
        return None


class GenerationParams(Params):
    """Sampling and limits. Not every engine heeds every one: `get_supported_params()` names those it does."""

    max_new_tokens: Count = 1024
    """The most tokens an answer may have."""
    batch_size: Count | None = None
    """Rows in one batch of a local engine; null lets the engine choose."""
    exclude_prompt_from_response: bool = True
    """Leave the prompt out of the answer."""
    seed: Integer | None = None
    """Makes sampling repeatable, as far as the engine can."""
    temperature: NonNegative = 0.0
    """0 always takes the likeliest token; higher is more varied."""
    top_p: Fraction | None = None
    """Sample only from the likeliest tokens that make up this probability together."""
    frequency_penalty: Real = 0.0
    """Above 0, tokens become less likely each time they occur."""
    presence_penalty: Real = 0.0
    """Above 0, tokens become less likely once they have occurred."""
    stop_strings: list[str] | None = None
    """Texts that end the answer."""
    stop_token_ids: list[Natural] | None = None
    """Tokens that end the answer, by id."""
    logit_bias: dict[TokenId, Bias] = Field(default_factory=dict[int | str, float])
    """Added to a token's logit, by token id, -100 to 100; -100 bans it."""
    min_p: Fraction = 0.0
    """Drop tokens less likely than this share of the likeliest one's probability."""
    use_cache: bool = True
    """Keep attention keys and values between tokens."""
    num_beams: Count = 1
    """Beams of a beam search; 1 is none."""
    use_sampling: bool = False
    """Sample; else take the likeliest token. Engines that have only `temperature` go by that."""
    guided_decoding: GuidedDecodingParams | None = None
    """Hold the answer to a schema, a pattern or choices."""
    skip_special_tokens: bool = True
    """Leave special tokens out of the text."""
    tool_choice: str | dict[str, Any] | None = None
    """`none`, `auto`, `required`, or `{"type": "function", "function": {"name": ...}}`."""
    parallel_tool_calls: bool = True
    """Whether one answer may hold several tool calls."""
    extra_body: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Fields for each request's body, by the API's own names. They go before ours; a null takes one out."""
