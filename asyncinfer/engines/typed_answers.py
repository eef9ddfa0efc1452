"""Typed answers of a call: how the engine is asked for them, and how they are checked."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from pydantic_core import to_json

from asyncinfer.aio.limiters import MODELS
from asyncinfer.config import GenerationParams, GuidedDecodingParams
from asyncinfer.config import response_model as models
from asyncinfer.errors import ConfigError, MissingDependencyError
from asyncinfer.run.answer_check import TypedAnswerCheck
from asyncinfer.run.answer_model import AnswerModel
from asyncinfer.run.bound_engine import BoundEngine, CallSettings
from asyncinfer.run.typed_engine import TypedEngine

_INSTRUCTION = (
    "The final answer is JSON that fits this JSON schema:\n\n{schema}\n\n"
    "Write nothing but the JSON: no text before or after it, and no Markdown."
)


class TypedCall(NamedTuple):
    """What a call with a `response_model` needs.

    Args:
        engine: Answers with the schema.
        settings: The settings as they are sent: with guided decoding, if the engine can, and without `response_model`.
        check: Parses and validates the answers.
    """

    engine: BoundEngine
    settings: CallSettings
    check: TypedAnswerCheck


async def with_loaded_model(generation: GenerationParams) -> GenerationParams:
    """Return the parameters with the class of `response_model` in place of its name. Imports it in a thread.

    Raises:
        ConfigError: It cannot be imported.
    """
    if not isinstance(generation.response_model, str):
        return generation
    model = await MODELS.run(models.loaded, generation.response_model)
    return generation.model_copy(update={"response_model": model})


def typed_call(
    settings: CallSettings,
    bind: Callable[[CallSettings], BoundEngine],
    warn: Callable[[str], None],
    supported: Collection[str],
) -> TypedCall:
    """Prepare a call with a `response_model`.

    Args:
        settings: The settings in effect. The model is loaded.
        bind: Makes the engine with the settings of a call.
        warn: Logs a warning about settings.
        supported: The parameters that the engine supports, unless the bound engine has its own list.

    Raises:
        ConfigError: A setting is wrong, also without the `response_model`.
    """
    generation = settings.generation
    model = AnswerModel(generation.response_model)
    plain = settings._replace(generation=generation.model_copy(update={"response_model": None}))
    check = TypedAnswerCheck(model, generation.max_validation_retries)
    free = bind(plain)
    given = generation.guided_decoding
    if given is not None and (given.json, given.regex, given.choice) != (None, None, None):
        return TypedCall(free, plain, check)  # The user constrains the answers in another way.
    sent = _guided(plain, model, strict=given is not None and given.strict)
    if "guided_decoding" in (free.supported_parameters or supported):
        guided = _bound(bind, sent, model, warn)
    else:
        guided = None
        warn(_schema_in_prompt_warning(model, "it has no guided decoding"))
    instruction = _INSTRUCTION.format(schema=to_json(model.schema).decode())
    guides_all = free.guides_with_tools or generation.tool_choice == "none"
    engine = TypedEngine(guided, free, instruction, guides_with_tools=guides_all)
    return TypedCall(engine, plain if guided is None else sent, check)


def _guided(settings: CallSettings, model: AnswerModel, *, strict: bool) -> CallSettings:
    schema = model.type if models.is_model_class(model.type) else model.schema
    guided = GuidedDecodingParams(json=schema, strict=strict)
    return settings._replace(generation=settings.generation.model_copy(update={"guided_decoding": guided}))


def _bound(
    bind: Callable[[CallSettings], BoundEngine], settings: CallSettings, model: AnswerModel, warn: Callable[[str], None]
) -> BoundEngine | None:
    """Return the engine with guided decoding; None if the API does not accept the schema."""
    try:
        return bind(settings)
    except MissingDependencyError:
        raise
    except ConfigError as error:
        warn(_schema_in_prompt_warning(model, str(error).removeprefix("generation.guided_decoding.json: ")))
        return None


def _schema_in_prompt_warning(model: AnswerModel, why: str) -> str:
    """Return the warning that the schema is in the prompt, because the API does not constrain the answers."""
    return (
        f"generation.response_model: the API does not constrain answers to {model.name}: {why}. The schema is added to "
        "the system prompt, and answers that do not fit are asked again"
    )
