"""A chat on the terminal. Answers appear while they are generated."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from asyncinfer.aio.iterate import iterate
from asyncinfer.cli.exit_codes import SOME_FAILED
from asyncinfer.cli.history import HistoryFile, history_path
from asyncinfer.cli.images import image_items
from asyncinfer.cli.interrupts import interrupt_stops
from asyncinfer.cli.line_editor import has_editor, read_messages
from asyncinfer.cli.messages import say, say_error, show_retries
from asyncinfer.cli.turn import Turn, stream_answer
from asyncinfer.config import InferenceConfig
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.engines.registry import build_engine
from asyncinfer.errors import RequestError
from asyncinfer.types.content import ContentItem, Type
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.message import Message, Role

_COMMAND_NAMES = ("/exit", "/help", "/quit", "/reset")
_COMMANDS = "/reset starts a new chat, /exit or /quit ends the program, /help shows this text."
_KEYS = "Ctrl-D ends the program, too, and Ctrl-C stops an answer."
_EDITOR_KEYS = (
    "Alt-Enter begins a new line, the arrow keys bring back earlier messages, and Ctrl-X Ctrl-E opens the message in "
    "the editor of $VISUAL or $EDITOR."
)
_NO_EDITOR = "To edit lines: pip install 'asyncinfer[chat]'"


async def run_chat(
    config: InferenceConfig,
    *,
    images: Sequence[str] = (),
    system_prompt: str | None = None,
    markdown: bool = True,
    save_history: bool = True,
) -> int:
    """Chat, and return the exit code. Each line of stdin is a message; on a terminal, a message may have several lines.

    On a terminal the user sees a failed answer and may go on. In a script, the exit code shows it.

    Args:
        images: Paths or URLs of images and of PDF documents, for the first message.
        system_prompt: The system prompt.
        markdown: Render answers as Markdown if stdout is a terminal.
        save_history: Save the messages that are typed on a terminal, and bring back those of earlier chats.

    Raises:
        ConfigError: A setting, the path of an image or a PDF document is wrong.
        InputError: A PDF document cannot be read.
        RequestError: A PDF document cannot be fetched.
        EngineDeadError: The key, the account or the model is wrong, or the engine has stopped.
    """
    show_retries()
    items = [item for image in images for item in await image_items(image)]
    history = HistoryFile(history_path()) if save_history else None
    async with build_engine(config) as engine:
        chat = Chat(engine, config, items, system_prompt, markdown=markdown, history=history)
        await chat.run()
    return SOME_FAILED if chat.failed and not sys.stdin.isatty() else 0


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
        *,
        markdown: bool,
        history: HistoryFile | None = None,
    ) -> None:
        self._engine, self._config, self._images, self._markdown = engine, config, images, markdown
        self._history = history
        self._is_terminal = sys.stdin.isatty()
        self._system = [Message(role=Role.SYSTEM, content=system_prompt)] if system_prompt else []
        self._messages = list(self._system)
        self.failed = False

    async def run(self) -> None:
        """Answer each message until the input ends, or until the user leaves."""
        if self._is_terminal:
            self._help()
            messages = read_messages(self._history, _COMMAND_NAMES)
        else:
            messages = iterate(line for line in sys.stdin)
        async for text in messages:
            match text.strip():
                case "":
                    continue
                case "/exit" | "/quit":
                    return
                case "/help":
                    self._help()
                case "/reset":
                    self._messages = list(self._system)
                case question:
                    await self._turn(question)

    def _help(self) -> None:
        say(f"{_COMMANDS} {_KEYS} {_EDITOR_KEYS if has_editor() else _NO_EDITOR}" if self._is_terminal else _COMMANDS)

    async def _turn(self, question: str) -> None:
        messages, turn = [*self._messages, self._question(question)], Turn()
        try:
            async with interrupt_stops():
                await stream_answer(
                    turn, self._engine, Conversation(messages=messages), self._config, markdown=self._markdown
                )
        except RequestError as error:
            say_error(str(error))
            self.failed = True
            return
        if self._is_terminal and (line := turn.usage_line()):
            say(line)
        if turn.text:
            self._messages = [*messages, Message(role=Role.ASSISTANT, content=turn.text)]
            self._images = ()

    def _question(self, text: str) -> Message:
        """Return the message. It has the images until an answer makes them a part of the chat."""
        if not self._images:
            return Message(role=Role.USER, content=text)
        return Message(role=Role.USER, content=[*self._images, ContentItem(type=Type.TEXT, content=text)])
