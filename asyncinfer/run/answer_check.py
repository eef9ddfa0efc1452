"""Checks whether an answer is a success, before it counts as one.

An executor calls `AnswerCheck` for each completion that arrives. If it raises, the row is not answered: its error says
whether and how to ask again. `run/attempts.py` does so for requests; an executor of batch jobs sends
`error.correction.applied_to(conversation)` in a later job, or as a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import anyio

from asyncinfer.aio.limiters import ROWS
from asyncinfer.run.answer_model import AnswerModel, InvalidValueError, UncheckedValueError
from asyncinfer.types.answer import REFUSAL, VALIDATION_RETRIES, Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.correction import Correction
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.message import Message, Role
from asyncinfer.types.run_errors import InvalidAnswerError
from asyncinfer.types.usage import Usage

# A longer text is parsed in a thread (characters).
_LONG = 1 << 15
# How much of a text that was cut off is shown to the model again (characters).
_SHOWN = 1000
_AGAIN = "Answer again, with nothing but JSON that fits the schema."


class AnswerCheck(Protocol):
    """Decides whether an answer is a success.

    Attributes:
        schema: The JSON schema of the answers; None if they have none.
    """

    schema: Mapping[str, Any] | None

    @property
    def written_schema(self) -> Mapping[str, Any] | None:
        """The JSON schema of the first value that `json_values` returns; None if there is none."""
        ...

    async def __call__(self, completion: Completion, correction: Correction | None = None) -> Completion:
        """Return the answer, parsed. An error has the usage of this answer.

        Args:
            correction: What the model was told about its earlier answers; None for the first answer.

        Raises:
            InvalidAnswerError: The answer cannot be used. `correction` is what to tell the model before it answers
                again; None if the row fails.
        """
        ...

    def json_values(self, text: str) -> list[Any]:
        """Return what an answer that passed the check means as JSON: the value of the typed answer comes first. Blocks.

        Raises:
            ValueError: There is no such value.
        """
        ...

    def restored(self, conversation: Conversation) -> Conversation:
        """Return a conversation with a saved answer, and its parsed answer. Blocks.

        Raises:
            ValueError: The saved answer does not fit.
            InvalidAnswerError: It cannot be validated. Another answer would not help.
        """
        ...


class TypedAnswerCheck:
    """Parses and validates each answer by a model. Answers that only call tools are not checked.

    Args:
        max_retries: How many rejected answers to a conversation are followed by another one.
    """

    def __init__(self, model: AnswerModel, max_retries: int) -> None:
        self._model, self._max_retries = model, max_retries
        self.schema: Mapping[str, Any] | None = model.schema

    @property
    def written_schema(self) -> Mapping[str, Any] | None:
        return self._model.written_schema

    async def __call__(self, completion: Completion, correction: Correction | None = None) -> Completion:
        message = completion.message
        if message.tool_calls:
            return _with_count(completion, correction)
        text = message.compute_flattened_text_content("")
        if stopped := _stopped_early(completion):
            raise InvalidAnswerError(stopped, text=text, usage=completion.usage)
        if completion.finish_reason is FinishReason.LENGTH:
            problem = "it was cut off at the limit of its length (generation.max_new_tokens, or that of the model)"
        else:
            try:
                parsed = await self._parse(text)
            except InvalidValueError as error:
                problem = str(error) if text.strip() else "it is empty"
            except UncheckedValueError as error:
                raise _unchecked(error, text, completion.usage) from error.__cause__
            else:
                return _with_count(replace(completion, parsed=parsed), correction)
        raise self._rejection(problem, completion, text, correction)

    def json_values(self, text: str) -> list[Any]:
        try:
            return self._model.json_values(text)
        except UncheckedValueError as error:
            raise ValueError(str(error)) from error

    def restored(self, conversation: Conversation) -> Conversation:
        message = conversation.messages[-1]
        if message.tool_calls:
            return conversation
        text = message.compute_flattened_text_content("")
        try:
            parsed = self._model.parse(text)
        except InvalidValueError as error:
            raise ValueError(f"it does not fit {self._model.name}: {error}") from None
        except UncheckedValueError as error:
            raise _unchecked(error, text) from error.__cause__
        return conversation.with_parsed(parsed)

    async def _parse(self, text: str) -> object:
        if len(text) <= _LONG:
            return self._model.parse(text)
        with anyio.CancelScope(shield=True):  # The answer is not lost if the run is cancelled meanwhile.
            return await ROWS.run(self._model.parse, text)

    def _rejection(
        self, problem: str, completion: Completion, text: str, correction: Correction | None
    ) -> InvalidAnswerError:
        count = (correction.rejected if correction is not None else 0) + 1
        times = f" ({count} answers were rejected)" if count > 1 else ""
        message = f"the answer does not fit {self._model.name}: {problem}{times}"
        following = None
        if count <= self._max_retries:
            turns = (*(correction.turns if correction is not None else ()), *_turns(problem, completion, text))
            following = Correction(turns, count, message)
        return InvalidAnswerError(message, text=text, usage=completion.usage, correction=following)


def _unchecked(error: UncheckedValueError, text: str, usage: Usage | None = None) -> InvalidAnswerError:
    """The error for an answer that cannot be validated. No other one is requested: `response_model` is at fault."""
    message = f"the answer cannot be validated: {error}"
    return InvalidAnswerError(message, text=text, usage=usage, is_validated=False)


def _stopped_early(completion: Completion) -> str | None:
    """Why the model gives no answer, so that it is not asked again; None if it has answered."""
    if completion.finish_reason is FinishReason.CONTENT_FILTER:
        return "a content filter stopped the answer"
    refusal = (completion.message.model_extra or {}).get(REFUSAL)
    return f"the model refused to answer: {refusal}" if refusal else None


def _turns(problem: str, completion: Completion, text: str) -> tuple[Message, ...]:
    """The turns that ask the model to correct its answer; none for an empty one, because APIs refuse it."""
    if not text.strip():
        return ()
    answer = completion.message
    if completion.finish_reason is FinishReason.LENGTH:
        # All of it might not fit into the context again.
        answer = Message(role=Role.ASSISTANT, content=text if len(text) <= _SHOWN else f"{text[:_SHOWN]} [...]")
        request = f"Your answer was cut off, because it was too long. Answer again, shorter. {_AGAIN}"
    else:
        request = f"Your answer cannot be used: {problem}. {_AGAIN}"
    return answer, Message(role=Role.USER, content=request)


def _with_count(completion: Completion, correction: Correction | None) -> Completion:
    """Return the answer with the number of the rejected answers before it."""
    if correction is None:
        return completion
    return replace(completion, metadata={**(completion.metadata or {}), VALIDATION_RETRIES: correction.rejected})
