"""Answers one question, without a configuration file."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from asyncinfer.cli.answer_view import answer_view
from asyncinfer.cli.exit_codes import SOME_FAILED
from asyncinfer.cli.images import image_items
from asyncinfer.cli.messages import say, say_error, show_retries
from asyncinfer.cli.model_engine import engine_for_model
from asyncinfer.cli.turn import CUT, Turn, stream_answer
from asyncinfer.cli.typed_view import show_typed
from asyncinfer.config import InferenceConfig, InferenceEngineType
from asyncinfer.config.variables import escaped
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.engines.registry import build_engine
from asyncinfer.errors import ConfigError, RequestError
from asyncinfer.types.content import ContentItem, Type
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.finish_reason import FinishReason, finish_reason_of
from asyncinfer.types.message import Message, Role
from asyncinfer.types.paths import expanded, read_text

_WAITS_FOR_STDIN = "Waiting for the end of stdin. If the question has no piped text, give --no-stdin or < /dev/null."
# What `--json` asks for: any object.
_ANY_OBJECT = {"type": "object"}


@dataclass(frozen=True, slots=True)
class Question:
    """What the user asks, and how the answer is shown.

    Args:
        text: The question.
        system: The system prompt.
        images: Paths or URLs of images and of PDF documents.
        stream: Show the answer while it is generated.
        markdown: Render the answer as Markdown if stdout is a terminal.
    """

    text: str
    system: str | None = None
    images: Sequence[str] = ()
    stream: bool = True
    markdown: bool = True

    async def conversation(self) -> Conversation:
        """Return the question as a conversation."""
        messages = [Message(role=Role.SYSTEM, content=self.system)] if self.system else []
        items = [item for image in self.images for item in await image_items(image)]
        content = [*items, ContentItem(type=Type.TEXT, content=self.text)] if items else self.text
        return Conversation(messages=[*messages, Message(role=Role.USER, content=content)])


async def run_ask(config: InferenceConfig, question: Question) -> int:
    """Answer the question on stdout, and return the exit code.

    Raises:
        ConfigError: A setting, the path of an image or a PDF document is wrong.
        InputError: A PDF document cannot be read.
        EngineDeadError: The key, the account or the model is wrong, or the engine has stopped.
    """
    show_retries()
    conversation = await question.conversation()
    is_data = config.generation.guided_decoding is not None
    markdown = question.markdown and not is_data
    answer = _stream if question.stream else _show
    if config.generation.response_model is not None:
        answer = _show_typed
    async with build_engine(config) as engine:
        try:
            await answer(engine, conversation, config, markdown)
        except RequestError as error:
            say_error(str(error))
            return SOME_FAILED
    return 0


async def _stream(engine: BaseInferenceEngine, asked: Conversation, config: InferenceConfig, markdown: bool) -> None:
    await stream_answer(Turn(), engine, asked, config, markdown=markdown)


async def _show(engine: BaseInferenceEngine, asked: Conversation, config: InferenceConfig, markdown: bool) -> None:
    answered = await engine.agenerate(asked, config)
    async with answer_view(markdown=markdown) as show:
        await show(answered.text)
    if finish_reason_of(answered) is FinishReason.LENGTH:
        say(CUT)


async def _show_typed(engine: BaseInferenceEngine, asked: Conversation, config: InferenceConfig, _: bool) -> None:
    """Show the answer when it is validated: an answer that is asked again cannot be shown while it is generated."""
    await show_typed(await engine.agenerate(asked, config))


def question_text(argument: str | None, *, read_stdin: bool = True, patience: float = 3.0) -> str:
    """Return the question: the argument, and the text that is piped to the command. Blocks until the pipe ends.

    A pipe that stays open looks like a slow program that still has to write, so both are waited for.

    Args:
        argument: The question on the command line.
        read_stdin: Read the text that is piped.
        patience: Seconds after which a message says that the pipe is still open.

    Raises:
        ConfigError: There is neither.
    """
    asked = (argument or "").encode(errors="surrogateescape").decode(errors="replace").strip()
    piped = _piped_text(patience).strip() if read_stdin else ""
    if not asked and not piped:
        raise ConfigError('there is no question: give it as an argument, as in asyncinfer ask "...", or pipe it')
    return "\n\n".join(part for part in (asked, piped) if part)


def _piped_text(patience: float) -> str:
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    notice = threading.Timer(patience, say, [_WAITS_FOR_STDIN])
    notice.daemon = True
    notice.start()
    try:
        return sys.stdin.read()
    finally:
        notice.cancel()


def load_config(path: str | None, settings: Mapping[str, Any]) -> InferenceConfig:
    """Return the configuration in a file, if there is one, with the settings of the command line. If no engine is set,
    it is derived from the URL or from the name of the model.

    Args:
        settings: Values by their dotted paths. None: not set.

    Raises:
        ConfigError: A value is wrong, or the engine is not clear.
    """
    # JSON is YAML. Values of the command line contain no variables.
    given = {
        name: json.dumps(escaped(value), ensure_ascii=False) for name, value in settings.items() if value is not None
    }
    config = InferenceConfig.from_yaml_and_arg_list(path, [f"{name}={value}" for name, value in given.items()])
    if config.engine is None:
        has_url = config.remote_params is not None and config.remote_params.api_url
        config.engine = InferenceEngineType.REMOTE if has_url else engine_for_model(config.model.model_name)
    if settings.get("generation.temperature"):
        config.generation = config.generation.with_implied_sampling()
    return config


def schema_in(path: str | None, *, any_object: bool) -> dict[str, Any] | None:
    """Return the JSON schema in a file; with `any_object` and without a file, the schema of all objects.

    Raises:
        ConfigError: The file cannot be read, or is not a JSON schema.
    """
    if path is None:
        return dict(_ANY_OBJECT) if any_object else None
    try:
        schema = json.loads(read_text(expanded(path, "--schema"), "--schema"))
    except ValueError as error:
        raise ConfigError(f"--schema: {path} is not JSON: {error}") from None
    if not isinstance(schema, dict):
        raise ConfigError(f"--schema: {path} should hold a JSON object")
    return cast(dict[str, Any], schema)
