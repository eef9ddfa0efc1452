"""Reads the settings of the answers to a request: what the engine generates, and nothing else of its configuration."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, NamedTuple, cast

from pydantic_core import to_json

from asyncinfer.config import GenerationParams, InferenceConfig, ModelParams
from asyncinfer.dialects.openai.request_reader import SETTINGS, RequestFieldError, generation_of
from asyncinfer.engines.call_setup import MOST_KEPT
from asyncinfer.run.bound_engine import CallSettings
from asyncinfer.serve.api_errors import ApiError, bad_request
from asyncinfer.serve.request_fields import object_field
from asyncinfer.serve.settings import TEMPLATE_VARIABLES
from asyncinfer.types.lru_cache import LRUCache

_TEMPLATE_FIELD = "chat_template_kwargs"
# How many settings are kept, and how long their JSON text may be.
_MAX_KEPT, _MAX_KEY_LENGTH = 64, 65_536
# The most entries of fields that are checked one by one, which blocks the event loop, or that slow down each token.
_MAX_ENTRIES = {"logit_bias": 1024, "stop": 64, _TEMPLATE_FIELD: 64}
# The defaults of OpenAI's API where this package has others: the length is limited only by the model, and the model
# samples with its default temperature. Source: OpenAI's API reference ("Create chat completion"), November 2026.
_API_DEFAULTS: Mapping[str, Any] = {"max_new_tokens": None, "temperature": None, "use_sampling": True}


class AnswerSettings(NamedTuple):
    """The settings of one answer.

    Args:
        generation: What the engine generates.
        model: The name of the model that a remote engine is asked for. None: the engine's own.
        template_variables: Variables of the chat template.
        passed: Fields for the API of a remote engine.
        key: Identifies these settings.
    """

    generation: GenerationParams
    model: str | None = None
    template_variables: Mapping[str, Any] | None = None
    passed: Mapping[str, Any] | None = None
    key: bytes = b""

    def with_seed(self, seed: int) -> AnswerSettings:
        """Return the settings with another seed."""
        generation = GenerationParams.model_validate({**_explicit(self.generation), "seed": seed})
        return self._replace(generation=generation, key=b"%b %d" % (self.key, seed))


class SettingsReader:
    """Reads the settings of requests. Most requests of an application have the same settings, which are read once.

    Args:
        passed_fields: The fields that are passed to the API of a remote engine.
    """

    def __init__(self, passed_fields: Set[str]) -> None:
        self._passed = passed_fields
        self._names = SETTINGS | passed_fields | {_TEMPLATE_FIELD}
        self._kept = LRUCache[bytes, AnswerSettings](_MAX_KEPT)

    def __call__(self, fields: Mapping[str, Any]) -> AnswerSettings:
        """Return the settings in the fields of a request.

        Raises:
            ApiError: A field has a wrong value, or one that requests may not set.
        """
        given = {name: value for name, value in fields.items() if name in self._names and value is not None}
        _check_sizes(given)
        key = to_json(given)
        return self._kept.get(key, lambda: self._read(given, key), keep=len(key) <= _MAX_KEY_LENGTH)

    def _read(self, given: Mapping[str, Any], key: bytes) -> AnswerSettings:
        passed = {name: value for name, value in given.items() if name in self._passed}
        return AnswerSettings(_generation(given), None, _template_variables(given), passed or None, key)


def _check_sizes(fields: Mapping[str, Any]) -> None:
    for name, most in _MAX_ENTRIES.items():
        given: Any = fields.get(name)
        if isinstance(given, dict | list) and len(cast(list[Any], given)) > most:
            raise bad_request(f"{name}: has more than {most:,} entries.", name)


def _generation(fields: Mapping[str, Any]) -> GenerationParams:
    """Return the generation parameters in the fields of a request.

    Raises:
        ApiError: A field has a wrong value.
    """
    try:
        return generation_of(fields).with_implied_sampling()
    except RequestFieldError as error:
        raise bad_request(f"{error}.", error.field) from None


class AnswerConfigs:
    """Gives requests with the same settings the same config, so that the engine prepares it only once.

    Args:
        own: The settings of the engine. Parameters, fields and template variables that the operator has set stay set,
            unless a request sets the same ones. Parameters that nobody has set have the defaults of OpenAI's API.
        is_local: Whether the model runs in this process, where the engine itself fetches images.
    """

    def __init__(self, own: CallSettings, *, is_local: bool) -> None:
        self._own, self._is_local = own, is_local
        self._kept = LRUCache[tuple[bytes, str | None], InferenceConfig](MOST_KEPT)

    def of(self, settings: AnswerSettings) -> InferenceConfig:
        """Return the config of a call with these settings."""
        return self._kept.get((settings.key, settings.model), lambda: self._new(settings))

    def _new(self, settings: AnswerSettings) -> InferenceConfig:
        return InferenceConfig(model=self._model(settings), generation=self._generation(settings))

    def _generation(self, settings: AnswerSettings) -> GenerationParams:
        own = self._own.generation
        defaults = {name: value for name, value in _API_DEFAULTS.items() if name not in own.model_fields_set}
        given = _explicit(settings.generation)
        if "temperature" not in defaults or "temperature" in given:
            defaults.pop("use_sampling", None)
        passed = {"extra_body": {**own.extra_body, **settings.passed}} if settings.passed else {}
        return GenerationParams.model_validate({**defaults, **given, **passed})

    def _model(self, settings: AnswerSettings) -> ModelParams:
        # Whatever the engine's settings allow, no client may make this process fetch from private addresses.
        fields: dict[str, Any] = {"allow_private_urls": False} if self._is_local else {}
        if settings.model is not None:
            fields["model_name"] = settings.model
        if settings.template_variables:
            fields[_TEMPLATE_FIELD] = {**(self._own.model.chat_template_kwargs or {}), **settings.template_variables}
        return ModelParams.model_validate(fields)


def _explicit(generation: GenerationParams) -> dict[str, Any]:
    """Return the parameters that are set explicitly."""
    return generation.model_dump(exclude_unset=True)


def _template_variables(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    variables = object_field(fields, _TEMPLATE_FIELD)
    for name, value in variables.items():
        if name not in TEMPLATE_VARIABLES:
            raise _not_allowed(name)
        if not isinstance(value, bool | int | str):
            raise bad_request(f"{_TEMPLATE_FIELD}.{name}: should be a string, a number or a boolean.", _TEMPLATE_FIELD)
    return variables


def _not_allowed(name: str) -> ApiError:
    allowed = ", ".join(sorted(TEMPLATE_VARIABLES))
    return bad_request(f"{_TEMPLATE_FIELD}.{name}: requests may set only {allowed}.", _TEMPLATE_FIELD)
