"""Makes a conversation of each row of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import from_json

from asyncinfer.config import InputFormat, InputParams
from asyncinfer.config.prompt_template import PromptTemplate
from asyncinfer.config.template_limits import TemplateLimitError
from asyncinfer.data.json_values import as_json
from asyncinfer.data.openai_batch import conversation_of_request
from asyncinfer.data.row_images import image_items
from asyncinfer.errors import InputError
from asyncinfer.types.content import ContentItem, Type
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.message import Message, Role
from asyncinfer.types.names import listed_names, no_column
from asyncinfer.types.validation import validation_message

MESSAGES = "messages"
# The columns of a row without a prompt that are parts of its conversation. In CSV files, they are JSON texts.
_PARTS = (MESSAGES, "conversation_id", "metadata", "tools", "generation", "model_name")
_TEXTS = ("conversation_id", "model_name")


class RowPrompt:
    """The settings in `input`, prepared for all rows.

    Args:
        keeps_metadata: Whether the columns in `keep` become metadata of the conversations.
        keeps_keys: Whether the rows without a prompt are conversations with all of their keys.

    Raises:
        ConfigError: A template is wrong.
    """

    def __init__(self, params: InputParams, *, keeps_metadata: bool = False, keeps_keys: bool = False) -> None:
        self._params, self._keeps_keys = params, keeps_keys
        self._prompt = _template(params.prompt)
        self._system = _template(params.system)
        self._kept = tuple(params.keep or ()) if keeps_metadata else ()
        self._has_settings = params.model_name is not None or bool(params.generation)

    @property
    def fingerprint(self) -> bytes:
        """Changes with the settings that determine the id, the metadata and the settings of a conversation."""
        own = (self._params.model_name, self._params.generation) if self._has_settings else ()
        return repr((self._params.id, self._kept, *own)).encode(errors="surrogatepass")

    def check_columns(self, columns: tuple[str, ...], name: str) -> None:
        """Check that the table has the columns that the settings name.

        Raises:
            InputError: It does not.
        """
        for setting, needed in self._needed():
            if missing := sorted(needed - set(columns)):
                raise InputError(f"{name}: {setting}: {no_column(missing[0], columns)}")
        for setting, template in (("input.prompt", self._prompt), ("input.system", self._system)):
            try:
                if template is not None:
                    template.check_names(columns)
            except ValueError as error:
                raise InputError(f"{name}: {setting}: {error}") from None

    def conversation(self, values: Mapping[str, Any]) -> Conversation:
        """Return the conversation of a row.

        Raises:
            InputError: The row does not have a column, or a column has a value that cannot be used.
        """
        if self._params.format is InputFormat.OPENAI_BATCH:
            conversation = conversation_of_request(values)
        elif self._prompt is None:
            conversation = _given_conversation(values, () if self._keeps_keys else _PARTS)
        else:
            conversation = Conversation(messages=[*self._system_message(values), self._question(self._prompt, values)])
        if self._params.id is not None:
            given = _column(values, self._params.id, "input.id")
            conversation.conversation_id = None if given is None else str(given)
        if self._has_settings:
            self._add_settings(conversation, values)
        if self._kept:
            kept = {name: as_json(_column(values, name, "input.keep")) for name in self._kept}
            conversation.metadata = {**conversation.metadata, **kept}
        return conversation

    def outcome(self, values: Mapping[str, Any] | InputError) -> Conversation | InputError:
        """Return the conversation of a row, or why the row is not valid."""
        if isinstance(values, InputError):
            return values
        try:
            return self.conversation(values)
        except InputError as error:
            return error

    def _add_settings(self, conversation: Conversation, values: Mapping[str, Any]) -> None:
        """Add the settings of the row, which override those of the call."""
        if self._params.model_name is not None:
            name = _column(values, self._params.model_name, "input.model_name")
            conversation.model_name = conversation.model_name if name in (None, "") else str(name)
        columns = self._params.generation.items()
        own = {setting: _setting(_column(values, column, "input.generation")) for setting, column in columns}
        if set_ones := {setting: value for setting, value in own.items() if value not in (None, "")}:
            conversation.generation = {**(conversation.generation or {}), **set_ones}

    def _needed(self) -> list[tuple[str, set[str]]]:
        """The settings, each with the columns that it names."""
        params = self._params
        return [
            ("input.prompt", set(self._prompt.columns) if self._prompt is not None else self._messages()),
            ("input.system", set(self._system.columns) if self._system is not None else set()),
            ("input.images", {params.images} if params.images is not None else set()),
            ("input.id", {params.id} if params.id is not None else set()),
            ("input.model_name", {params.model_name} if params.model_name is not None else set()),
            ("input.generation", set(params.generation.values())),
            ("input.keep", set(params.keep or ())),
        ]

    def _messages(self) -> set[str]:
        return set() if self._params.format is InputFormat.OPENAI_BATCH else {MESSAGES}

    def _system_message(self, values: Mapping[str, Any]) -> list[Message]:
        if self._system is None:
            return []
        text = _rendered(self._system, values, "input.system")
        return [Message(role=Role.SYSTEM, content=text)] if text.strip() else []

    def _question(self, prompt: PromptTemplate, values: Mapping[str, Any]) -> Message:
        text = _rendered(prompt, values, "input.prompt")
        if self._params.images is None:
            return Message(role=Role.USER, content=text)
        images = image_items(_column(values, self._params.images, "input.images"))
        content = [*images, ContentItem(type=Type.TEXT, content=text)] if images else text
        return Message(role=Role.USER, content=content)


def _template(source: str | None) -> PromptTemplate | None:
    return PromptTemplate(source) if source is not None else None


def _rendered(template: PromptTemplate, values: Mapping[str, Any], setting: str) -> str:
    try:
        return template.render(values)
    except TemplateLimitError as error:
        raise TemplateLimitError(f"{setting}: {error}") from None
    except ValueError as error:
        raise InputError(f"{setting}: {error}") from None


def _column(values: Mapping[str, Any], name: str, setting: str) -> Any:
    try:
        return values[name]
    except KeyError:
        raise InputError(f"{setting}: {no_column(name, values)}") from None


def _setting(value: Any) -> Any:
    """The value of a setting. In CSV files, lists and objects are JSON texts."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        with suppress(ValueError):
            return from_json(value)
    return as_json(value)


def _given_conversation(values: Mapping[str, Any], columns: Sequence[str]) -> Conversation:
    """The conversation in the column `messages` of a row, and in columns beside it: those of `columns`, or all."""
    if MESSAGES not in values:
        names = listed_names(values)
        raise InputError(f"there is no column {MESSAGES!r}, so set input.prompt; the columns are {names}")
    data = {name: _part(name, values[name]) for name in columns or values if values.get(name) is not None}
    try:
        return Conversation.from_dict(data)
    except ValidationError as error:
        raise InputError(validation_message(error)) from None


def _part(name: str, value: Any) -> Any:
    """A part of a conversation, without the nulls that Arrow adds for keys of other rows."""
    if name in _TEXTS:
        return str(value)
    if isinstance(value, str):
        try:
            value = from_json(value)
        except ValueError as error:
            raise InputError(f"column {name!r}: not valid JSON: {error}") from None
    return _without_nulls(value)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        items = cast(Mapping[str, Any], value).items()
        return {key: _without_nulls(part) for key, part in items if part is not None}
    return [_without_nulls(part) for part in cast(list[Any], value)] if isinstance(value, list) else value
