"""Several answers of a local model to one conversation: `generation.n`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from asyncinfer.aio.tasks import task_group
from asyncinfer.config import GenerationParams
from asyncinfer.run.bound_engine import BoundEngine, ObservedLimits
from asyncinfer.types.answer import CHOICES, Completion, choices_of
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.usage import Usage


def settings_of_choices(generation: GenerationParams) -> list[GenerationParams]:
    """Return the parameters of each of `n` answers. With a seed, each has its own, so that the answers differ."""
    seed = generation.seed
    if seed is None:
        return [generation] * generation.n
    return [generation.model_copy(update={"seed": seed + index}) for index in range(generation.n)]


class BoundChoices(BoundEngine):
    """Generates several answers at once. They share the computation of the prompt, as far as the model can.

    Args:
        engines: The engine with the settings of each answer.
    """

    def __init__(self, engines: Sequence[BoundEngine]) -> None:
        self._engines = engines

    async def generate(self, conversation: Conversation) -> Completion:
        answers: dict[int, Completion] = {}

        async def answer(index: int) -> None:
            answers[index] = await self._engines[index].generate(conversation)

        async with task_group() as tasks:
            for index in range(len(self._engines)):
                tasks.start_soon(answer, index)
        return _with_choices([answers[index] for index in range(len(self._engines))])

    async def stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta | ObservedLimits]:
        first, *others = self._engines
        tasks = [asyncio.ensure_future(engine.generate(conversation)) for engine in others]
        deltas: list[StreamDelta] = []
        try:
            async for delta in first.stream(conversation):
                if isinstance(delta, StreamDelta):
                    deltas.append(delta)
                if not isinstance(delta, StreamDelta) or delta.finish_reason is None:
                    yield delta
            answer = _with_choices([Completion.from_deltas(deltas), *await asyncio.gather(*tasks)])
            metadata = {**(deltas[-1].metadata or {}), CHOICES: (answer.metadata or {})[CHOICES]}
            yield replace(deltas[-1], usage=answer.usage, metadata=metadata)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _with_choices(answers: Sequence[Completion]) -> Completion:
    """Return the first answer, with all of them in its metadata, and the usage of all. The prompt counts once."""
    first = answers[0]
    metadata = {**(first.metadata or {}), **choices_of(answers)}
    if first.usage is None:
        return replace(first, metadata=metadata)
    prompt = first.usage.prompt_tokens
    completion = sum(answer.usage.completion_tokens for answer in answers if answer.usage is not None)
    usage = Usage(prompt, completion, prompt + completion, cached_tokens=first.usage.cached_tokens)
    return replace(first, usage=usage, metadata=metadata)
