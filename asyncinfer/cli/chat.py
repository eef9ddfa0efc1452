"""A chat on the terminal. Answers appear while they are generated."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress

import anyio

from asyncinfer.aio.iterate import iterate
from asyncinfer.aio.tasks import task_group
from asyncinfer.cli.images import image_items
from asyncinfer.cli.messages import say, say_error
from asyncinfer.config import InferenceConfig
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.engines.registry import build_engine
from asyncinfer.errors import RequestError
from asyncinfer.types.answer import FinishReason
from asyncinfer.types.conversation import ContentItem, Conversation, Message, Role, Type

# The exit code when a question that was piped has no answer.
QUESTION_FAILED = 1
HELP = "/reset starts a new chat, /exit or Ctrl-D ends the program, Ctrl-C stops an answer."


async def run_chat(config: InferenceConfig, *, image: str | None = None, system_prompt: str | None = None) -> int:
    """Chat, and return the exit code. Each line of stdin is a message.

    On a terminal the user sees a failed answer and may go on. In a script, the exit code shows it.
    """
    images = [] if image is None else await image_items(image)
    async with build_engine(config) as engine:
        chat = Chat(engine, config, images, system_prompt)
        await chat.run()
    return QUESTION_FAILED if chat.failed and not sys.stdin.isatty() else 0


class Chat:
    """One chat session. Its history grows with each question and its answer.

    Attributes:
        failed: Whether a question has no answer.
    """

    def __init__(
        self,
        engine: BaseInferenceEngine,
        config: InferenceConfig,
        images: Sequence[ContentItem],
        system_prompt: str | None,
    ) -> None:
        self._engine, self._config, self._images = engine, config, images
        self._system = [Message(role=Role.SYSTEM, content=system_prompt)] if system_prompt else []
        self._messages = list(self._system)
        self.failed = False

    async def run(self) -> None:
        """Answer each line until the input ends, or until the user leaves."""
        if sys.stdin.isatty():
            print(HELP, file=sys.stderr)
        async for text in iterate(_lines(sys.stdin.isatty())):
            match text.strip():
                case "":
                    continue
                case "/exit" | "/quit":
                    return
                case "/help":
                    print(HELP, file=sys.stderr)
                case "/reset":
                    self._messages = list(self._system)
                case question:
                    await self._turn(question)

    async def _turn(self, question: str) -> None:
        messages = [*self._messages, self._question(question)]
        parts: list[str] = []
        reason: FinishReason | None = None
        try:
            with anyio.CancelScope() as scope:
                async with task_group() as tasks:
                    tasks.start_soon(_cancel_on_interrupt, scope)
                    reason = await self._stream(messages, parts)
                    tasks.cancel_scope.cancel()
        except RequestError as error:
            if parts:
                print()
            say_error(str(error))
            self.failed = True
            return
        print()
        if reason is FinishReason.LENGTH:
            say("(The answer is cut off: generation.max_new_tokens, or the length that the model allows, is reached.)")
        if parts:
            self._messages = [*messages, Message(role=Role.ASSISTANT, content="".join(parts))]

    async def _stream(self, messages: list[Message], parts: list[str]) -> FinishReason | None:
        """Print the answer, and return why it ended."""
        reason = None
        async with self._engine.astream(Conversation(messages=messages), self._config) as deltas:
            async for delta in deltas:
                parts.append(delta.content)
                print(delta.content, end="", flush=True)
                reason = delta.finish_reason or reason
        return reason

    def _question(self, text: str) -> Message:
        images, self._images = self._images, ()
        if not images:
            return Message(role=Role.USER, content=text)
        return Message(role=Role.USER, content=[*images, ContentItem(type=Type.TEXT, content=text)])


def _lines(terminal: bool) -> Iterator[str]:
    """Yield the lines of stdin. A terminal shows a prompt."""
    if not terminal:
        yield from sys.stdin
        return
    with suppress(EOFError):
        while True:
            yield input("> ")


async def _cancel_on_interrupt(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
