"""The blocking twins of the methods for one conversation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from asyncinfer.aio import portal
from asyncinfer.config import InferenceConfig
from asyncinfer.engines.chat_async import AsyncChatMethods
from asyncinfer.run.stop import Stop
from asyncinfer.types.conversation import Conversation, ConversationLike
from asyncinfer.types.parsed import M, ResponseModel
from asyncinfer.types.stream import StreamDelta


class ChatMethods(AsyncChatMethods):
    """Blocking methods for one conversation. Each runs its async method on an event loop in a thread of its own."""

    def generate(
        self,
        conversation: ConversationLike,
        inference_config: InferenceConfig | None = None,
        *,
        stop: Stop | None = None,
        response_model: ResponseModel[M] | None = None,
    ) -> Conversation[M]:
        """Answer one conversation under the engine's permits, pace, limits and retries. Nothing is saved.

        The settings of a config are prepared once and kept, so that repeated calls cost little. With `cache`, the
        answer is kept, and the same call takes it from the cache later.

        Blocks; `agenerate` is the async method.

        Args:
            conversation: The conversation to answer: a `Conversation`, a text (one user message), or a list of messages
                or of their dicts. It is not changed.
            inference_config: Settings for this call. Only those that are set explicitly override the engine's.
            stop: Ends the call early.
            response_model: The type of the answer: a pydantic model class, or a JSON schema. Replaces that of the
                settings (`generation.response_model`).

        Returns:
            The conversation with the answer appended, as a new object. `.text` is the text of the answer, and `.parsed`
            the typed one if there is a `response_model`.

        Raises:
            InvalidAnswerError: The answer does not fit the `response_model`, also after all retries.
            RunInterruptedError: `stop` ended the call before it was done.
            RequestError: The conversation was not answered, and no retry is left.
            EngineDeadError: The engine can answer no conversation with these settings.
            ConfigError: A setting is wrong.
            InputError: The conversation is not valid.
        """
        return portal.call(
            partial(self.agenerate, conversation, inference_config, stop=stop, response_model=response_model)
        )

    def stream(
        self,
        conversation: ConversationLike,
        inference_config: InferenceConfig | None = None,
        *,
        stop: Stop | None = None,
        response_model: ResponseModel[Any] | None = None,
    ) -> Iterator[StreamDelta]:
        """Yield one answer in parts. Nothing is saved; failed attempts are retried until the first part.

        With a `response_model`, the whole answer is validated before the last part is yielded, which then has it in
        `parsed`. An answer that does not fit is an error; it is not asked again, because its parts were yielded.

        Blocks; `astream` is the async method. The generation is cancelled when the iterator is closed or dropped.

        Args:
            conversation: The conversation to answer: a `Conversation`, a text (one user message), or a list of messages
                or of their dicts. It is not changed.
            inference_config: Settings for this call. Only those that are set explicitly override the engine's.
            stop: Ends the stream early.
            response_model: The type of the answer, as for `generate`.

        Yields:
            The parts of the answer. The last one has the finish reason and the usage.

        Raises:
            InvalidAnswerError: The answer does not fit the `response_model`.
            RunInterruptedError: `stop` ended the stream before it was done.
            RequestError: The conversation was not answered, or the stream ended early.
            EngineDeadError: The engine can answer no conversation with these settings.
            ConfigError: A setting is wrong.
            InputError: The conversation is not valid.
        """
        return portal.iterate(
            partial(self.astream, conversation, inference_config, stop=stop, response_model=response_model)
        )

    def apply_chat_template(self, conversation: ConversationLike, **tokenizer_kwargs: Any) -> str:
        """The blocking twin of `aapply_chat_template`."""
        return portal.call(partial(self.aapply_chat_template, conversation, **tokenizer_kwargs))
