"""The async methods for one conversation. Nothing is saved."""

from __future__ import annotations

from functools import partial
from typing import Any

from asyncinfer.aio.background_iterator import BackgroundIterator, Channel
from asyncinfer.config import InferenceConfig
from asyncinfer.engines.call_input import cache_file, conversation_of
from asyncinfer.engines.core import EngineCore
from asyncinfer.errors import ConfigError
from asyncinfer.run import single
from asyncinfer.run.answer_cache import answer_once
from asyncinfer.run.stop import Stop, unless_stopped
from asyncinfer.types.conversation import Conversation, ConversationLike
from asyncinfer.types.parsed import M, ResponseModel
from asyncinfer.types.stream import StreamDelta


class AsyncChatMethods(EngineCore):
    """Answers one conversation, whole or in parts."""

    async def agenerate(
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
        asked = conversation_of(conversation, inference_config)
        setup = await self._setup_for(inference_config, response_model)
        answer = partial(single.generate, setup.access, self._attempts, asked)
        if inference_config is not None and inference_config.cache:
            file = cache_file(inference_config)
            answer = partial(answer_once, self._caches, file, setup.access.restored, asked, setup.keys, answer)
        completion = await unless_stopped(stop, answer)
        return completion.append_to(asked)

    def astream(
        self,
        conversation: ConversationLike,
        inference_config: InferenceConfig | None = None,
        *,
        stop: Stop | None = None,
        response_model: ResponseModel[Any] | None = None,
    ) -> BackgroundIterator[StreamDelta]:
        """Yield one answer in parts. Nothing is saved; failed attempts are retried until the first part.

        With a `response_model`, the whole answer is validated before the last part is yielded, which then has it in
        `parsed`. An answer that does not fit is an error; it is not asked again, because its parts were yielded.

        The generation is cancelled as soon as the consumer stops; see `BackgroundIterator`.

        Args:
            conversation: The conversation to answer: a `Conversation`, a text (one user message), or a list of messages
                or of their dicts. It is not changed.
            inference_config: Settings for this call. Only those that are set explicitly override the engine's.
            stop: Ends the stream early.
            response_model: The type of the answer, as for `agenerate`.

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
        asked = conversation_of(conversation, inference_config)

        async def work(channel: Channel[StreamDelta]) -> None:
            setup = await self._setup_for(inference_config, response_model)
            answer = partial(single.stream, setup.access, self._attempts, asked, channel.send)
            await unless_stopped(stop, answer)

        return BackgroundIterator(work)

    async def aapply_chat_template(self, conversation: ConversationLike, **tokenizer_kwargs: Any) -> str:
        """Return the prompt that the model's chat template makes of a conversation. Answers nothing.

        Args:
            tokenizer_kwargs: Variables of the template, such as `add_generation_prompt` (by default false, as in
                Transformers) and `tools`. Transformers also accepts the other arguments of its
                `apply_chat_template`.

        Raises:
            ConfigError: The engine does not have the template, because a server applies it.
            RequestError: The template does not support this conversation.
        """
        raise ConfigError(f"{type(self).__name__} has no chat template: the server that runs the model applies it")
