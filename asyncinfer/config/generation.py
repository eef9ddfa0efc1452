"""How an answer is generated."""

from __future__ import annotations

import warnings
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BaseModel, Field, field_serializer, field_validator, model_validator
from pydantic_core import from_json, to_json

from asyncinfer.config import response_model as models
from asyncinfer.config.base import Count, Fraction, Integer, Natural, NonNegative, Params, Positive, Real
from asyncinfer.config.row_key import Hashed, Unhashed


def _token_id(key: int | str) -> int | str:
    # The keys of a JSON object are always text.
    return int(key) if isinstance(key, str) and key.isdecimal() else key


TokenId = Annotated[int | str, AfterValidator(_token_id)]
TopK = Annotated[Integer, Field(ge=-1)]
Bias = Annotated[Real, Field(ge=-100, le=100)]

with warnings.catch_warnings():
    # The configuration key is `json`. It hides a deprecated method of pydantic, which this package does not use.
    warnings.filterwarnings("ignore", message='Field name "json"')

    class GuidedDecodingParams(Params):
        """Constrains the answer to a JSON schema, to a regular expression, or to one of several choices.

        At most one of the three may be set.
        """

        json: Hashed[Any] = Field(default=None, kw_only=False)  # pyright: ignore[reportIncompatibleMethodOverride]
        """A JSON schema as a dict or JSON text, or a pydantic model class."""
        regex: Hashed[str | None] = None
        """A regular expression that the whole answer matches."""
        choice: Hashed[Annotated[list[str], Field(min_length=1)] | None] = None
        """The answer is one of these texts."""
        strict: Hashed[bool] = False
        """Ask the API to follow the schema strictly, if the API has such a mode."""

        @field_validator("json")
        @classmethod
        def _check_schema(cls, schema: Any) -> Any:
            if schema is None or _is_model(schema):
                return schema
            if not isinstance(_parsed(schema), dict):
                raise ValueError("should be a JSON schema, as a mapping or as JSON text, or a pydantic model class")
            try:
                to_json(_parsed(schema))
            except ValueError as error:
                raise ValueError(f"cannot be written as JSON: {error}") from error
            return schema

        @field_serializer("json", when_used="json")
        def _serialize_schema(self, schema: Any) -> Any:
            return self.schema_dict() if _is_model(schema) else schema

        def schema_dict(self) -> dict[str, Any] | None:
            """The JSON schema in `json` as a dict, or None."""
            if _is_model(self.json):
                return cast(type[BaseModel], self.json).model_json_schema()
            return _parsed(self.json)

        def hashed_values(self) -> dict[str, Any]:
            """As in the base class. All forms of the same schema have the same value."""
            return super().hashed_values() | {"json": self.schema_dict()}

        @model_validator(mode="after")
        def _check_one_constraint(self) -> GuidedDecodingParams:
            given = [name for name in ("json", "regex", "choice") if getattr(self, name) is not None]
            if len(given) > 1:
                raise ValueError(f"{' and '.join(given)} exclude each other")
            return self


def _is_model(schema: Any) -> bool:
    return isinstance(schema, type) and issubclass(schema, BaseModel)


def _parsed(schema: Any) -> Any:
    """The schema, parsed if it is JSON text; None for text that is not JSON."""
    try:
        return from_json(schema) if isinstance(schema, str) else schema
    except ValueError:
        return None


class GenerationParams(Params):
    """Sampling and limits. `get_supported_params()` of an engine names those that it supports."""

    max_new_tokens: Hashed[Count | None] = Field(default=1024, kw_only=False)
    """The most tokens in an answer; null: the default of the API, or as many as the context of a local model holds."""
    batch_size: Unhashed[Count | None] = None
    """Rows in one batch of a local engine; null: the engine decides."""
    exclude_prompt_from_response: Hashed[bool] = True
    """Leave the prompt out of the answer."""
    seed: Hashed[Integer | None] = None
    """Makes sampling repeatable, if the engine supports it."""
    temperature: Hashed[NonNegative | None] = 0.0
    """0 always takes the most likely token. Higher values give more varied answers. null: the default of the API; 1 for
    models in this process."""
    top_p: Hashed[Fraction | None] = None
    """Sample only from the most likely tokens whose probabilities add up to this value."""
    frequency_penalty: Hashed[Real] = 0.0
    """Above 0, a token becomes less likely each time it occurs."""
    presence_penalty: Hashed[Real] = 0.0
    """Above 0, a token becomes less likely once it has occurred."""
    stop_strings: Hashed[list[str] | None] = None
    """Texts that end the answer."""
    stop_token_ids: Hashed[list[Natural] | None] = None
    """Ids of tokens that end the answer."""
    logit_bias: Hashed[dict[TokenId, Bias]] = Field(default_factory=dict[int | str, float])
    """Values from -100 to 100, by token id, that are added to the token's logit. -100 excludes the token."""
    min_p: Hashed[Fraction] = 0.0
    """Exclude tokens whose probability is less than this share of the most likely token's."""
    use_cache: Unhashed[bool] = True
    """Keep attention keys and values between tokens."""
    num_beams: Hashed[Count] = 1
    """The number of beams of a beam search; 1: no beam search."""
    use_sampling: Hashed[bool] = False
    """Sample; otherwise take the most likely token. Only `NATIVE` has this setting. Other engines decide by
    `temperature`."""
    guided_decoding: Hashed[GuidedDecodingParams | None] = None
    """Constrain the answer to a schema, a regular expression or choices."""
    skip_special_tokens: Hashed[bool] = True
    """Leave special tokens out of the text."""
    tool_choice: Hashed[str | dict[str, Any] | None] = None
    """`none`, `auto`, `required`, or `{"type": "function", "function": {"name": ...}}`."""
    parallel_tool_calls: Hashed[bool] = True
    """Whether an answer may contain several tool calls."""
    extra_body: Hashed[dict[str, Any]] = Field(default_factory=dict[str, Any])
    """Fields for the body of each request, by the API's own names. They replace the fields that this package sets; a
    null removes one."""
    logprobs: Hashed[bool] = False
    """Return the log probability of each token of the answer, in `metadata["logprobs"]`."""
    top_logprobs: Hashed[Annotated[int, Field(ge=0, le=20)] | None] = None
    """Also return this many of the most likely tokens at each place, from 0 to 20. Implies `logprobs`."""
    n: Hashed[Count] = 1
    """How many answers to generate. All of them are in `metadata["choices"]`; the first one is the answer."""
    top_k: Hashed[TopK | None] = None
    """Sample only from this many of the most likely tokens; 0 or -1: from all; null: the default of the engine or of
    the API."""
    repetition_penalty: Hashed[Positive] = 1.0
    """Above 1, tokens that have occurred become less likely. Their scores are divided by it, or multiplied if they are
    negative."""
    reasoning_effort: Hashed[Annotated[str, Field(min_length=1)] | None] = None
    """How much a model reasons before it answers, in the words of the API, such as `none`, `low`, `medium` or `high`.
    For models in this process, a variable of the chat template."""
    response_model: Hashed[Any] = None
    """The type of the answers: a pydantic model class, its name as `package.module:Class`, a JSON schema, or the path
    of a file with one, which ends with `.json`. Answers are parsed and validated; `conversation.parsed` has the result.
    Engines and APIs that support schemas constrain the answers to this one."""
    max_validation_retries: Unhashed[Natural] = 2
    """How often an answer that is cut off, or does not fit `response_model`, is asked again, with the problem as a
    further message. After that, its row fails."""

    @field_validator("response_model")
    @classmethod
    def _check_response_model(cls, model: Any) -> Any:
        return models.checked(model)

    @field_serializer("response_model", when_used="json")
    def _serialize_response_model(self, model: Any) -> Any:
        return models.written(model)

    def hashed_values(self) -> dict[str, Any]:
        """As in the base class. All forms of the same response model have the same value."""
        values = super().hashed_values()
        if self.response_model is not None:
            values["response_model"] = models.schema_of(self.response_model)
        return values

    def with_implied_sampling(self) -> GenerationParams:
        """Return these parameters with `use_sampling` if they explicitly set a temperature above 0, and do not set
        `use_sampling` itself.

        Requests and command lines have only a temperature, as with APIs; `NATIVE` would ignore it without
        `use_sampling`.
        """
        is_warm = "temperature" in self.model_fields_set and self.temperature
        if not is_warm or "use_sampling" in self.model_fields_set:
            return self
        return self.model_copy(update={"use_sampling": True})

    @property
    def wants_logprobs(self) -> bool:
        """Whether answers have log probabilities."""
        return self.logprobs or self.top_logprobs is not None
