"""Functions that answer texts with the engine of a configuration. Their names and arguments are those of Oumi."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from asyncinfer.aio import portal
from asyncinfer.config import InferenceConfig
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.engines.registry import build_engine
from asyncinfer.errors import AsyncInferError, InputError
from asyncinfer.types.content import ContentItem, Type
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.message import Message, Role

if TYPE_CHECKING:
    from rich.console import Console

_LINE = "------------"


async def ainfer(
    config: InferenceConfig,
    inputs: Sequence[str] | None = None,
    inference_engine: BaseInferenceEngine | None = None,
    *,
    input_image_bytes: Sequence[bytes] | None = None,
    system_prompt: str | None = None,
) -> list[Conversation]:
    """Answer texts, or the conversations of `config.input_path`, with the settings in `config`.

    Args:
        inputs: The texts. Each is a conversation of its own. None or an empty list: the file.
        inference_engine: The engine that answers. It stays open. By default, the engine that `config` names is made for
            this call, and closed at its end.
        input_image_bytes: Images before each text.
        system_prompt: The system prompt before each text.

    Returns:
        The answered conversations, in the order of the input.

    Raises:
        InferenceFailedError: Rows failed. All others are finished; `.result` holds them.
        ConfigError: A setting is wrong. InputError: The input is not valid.
    """
    if isinstance(inputs, str):
        raise InputError("inputs is a list of texts; for one, pass [text]")
    rows = [_conversation(text, input_image_bytes or (), system_prompt) for text in inputs or ()]
    if inference_engine is not None:
        return await inference_engine.ainfer(rows or None, config)
    async with build_engine(config) as engine:
        return await engine.ainfer(rows or None, config)


def infer(
    config: InferenceConfig,
    inputs: Sequence[str] | None = None,
    inference_engine: BaseInferenceEngine | None = None,
    *,
    input_image_bytes: Sequence[bytes] | None = None,
    system_prompt: str | None = None,
) -> list[Conversation]:
    """Answer texts, or the conversations of `config.input_path`. The blocking twin of `ainfer`."""
    return portal.call(
        partial(
            ainfer,
            config,
            inputs,
            inference_engine,
            input_image_bytes=input_image_bytes,
            system_prompt=system_prompt,
        )
    )


def infer_interactive(
    config: InferenceConfig,
    *,
    input_image_bytes: Sequence[bytes] | None = None,
    system_prompt: str | None = None,
    console: Console | None = None,
) -> None:
    """Ask for texts on the terminal, and print the answer to each, until the input ends or Ctrl-C is pressed.

    Each text is a conversation of its own, as in Oumi. `asyncinfer infer -i` remembers earlier turns, and shows answers
    while they grow.

    Args:
        input_image_bytes: Images before each text.
        system_prompt: The system prompt before each text.
        console: Shows that the model is working.
    """
    engine = build_engine(config)
    ask = partial(
        infer, config, inference_engine=engine, input_image_bytes=input_image_bytes, system_prompt=system_prompt
    )
    try:
        while True:
            text = input("Enter your input prompt: ")
            with console.status("Generating response...") if console is not None else nullcontext():
                shown = _answer(partial(ask, [text]))
            print(_LINE, shown, _LINE, "", sep="\n")
    except (EOFError, KeyboardInterrupt):
        print("\nExiting...")
    finally:
        engine.close()


def _conversation(text: object, images: Sequence[bytes], system_prompt: str | None) -> Conversation:
    if not isinstance(text, str):
        raise InputError(f"inputs is a list of texts (found an element of type {type(text).__name__})")
    system = [Message(role=Role.SYSTEM, content=system_prompt)] if system_prompt else []
    items = [ContentItem(type=Type.IMAGE_BINARY, binary=image) for image in images]
    content = [*items, ContentItem(type=Type.TEXT, content=text)] if items else text
    return Conversation(messages=[*system, Message(role=Role.USER, content=content)])


def _answer(ask: partial[list[Conversation]]) -> str:
    """The conversation as text, or the message of the error."""
    try:
        [answered] = ask()
    except AsyncInferError as error:
        return str(error)
    return "\n".join(f"{m.role.value.upper()}: {m.compute_flattened_text_content()}" for m in answered.messages)
