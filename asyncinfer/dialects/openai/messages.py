"""Encodes messages for servers that speak OpenAI's chat completions.

Sources: as of `request`. The additional keys of content parts: vLLM 0.32 (`uuid`), sglang 0.5.23 (`modalities`) and
OpenRouter's "Prompt Caching" (`cache_control`). Mistral's parts `thinking` and `document_url`: mistralai 3.7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from asyncinfer.dialects.fields import given_fields
from asyncinfer.dialects.google.thoughts import sent_back_signature
from asyncinfer.dialects.media import InlineFile
from asyncinfer.dialects.openai.files import accepted_file
from asyncinfer.dialects.openai.quirks import DocumentForm, Quirks
from asyncinfer.dialects.openai.reasoning_details import sent_back_details
from asyncinfer.dialects.tool_results import with_files_after_results
from asyncinfer.dialects.tools import short_id
from asyncinfer.dialects.turns import is_blank_text, kept_places
from asyncinfer.dialects.unsent_keys import OF_ANSWERS, SentKeys
from asyncinfer.types.content import ContentItem
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.media_types import PDF
from asyncinfer.types.merging import merged_messages
from asyncinfer.types.message import Message, Role
from asyncinfer.types.tools import ToolCall

Json = dict[str, Any]
# The keys that servers without additional keys know.
SENT_KEYS = SentKeys(frozenset({"name"}), image=frozenset({"detail"}))
# Keys of an image or a document that are next to its object `image_url` or `file`, not within it.
_BESIDE = frozenset({"cache_control", "modalities", "uuid"})
# Other ways to name the data of an image or a document. An item has its data already.
_DATA = frozenset({"file_data", "file_id", "file_url", "image_url", "url"})
# The functions that return the known parts of keys in `Quirks.passthrough`.
_SENT_BACK: Mapping[str, Callable[[Any], Any]] = {
    "extra_content": sent_back_signature,
    "reasoning_details": sent_back_details,
}


def encoded_messages(conversation: Conversation, quirks: Quirks) -> list[Json]:
    """Return the messages of a request. Images and documents in the results of tools come after the results.

    Raises:
        RequestError: The server does not support an image or a document.
    """
    messages = with_files_after_results(conversation.messages)
    if not quirks.blank_texts:
        messages = _without_blank_texts(messages)
    if quirks.merges_messages:
        messages = merged_messages(messages, is_sent=lambda key: _is_sent(key, quirks))
    return [_message(message, quirks) for message in messages]


def _message(message: Message, quirks: Quirks) -> Json:
    plain: Json = {"role": message.role.value, "content": _content(message, quirks)}
    if message.name is not None and (quirks.name_roles is None or message.role in quirks.name_roles):
        plain["name"] = message.name
    if message.tool_calls:
        plain["tool_calls"] = [_call(call, quirks) for call in message.tool_calls]
    if message.tool_call_id is not None:
        plain["tool_call_id"] = _call_id(message.tool_call_id, quirks)
    if message.model_extra and quirks.extra_keys:
        plain |= _sent(message.model_extra)
    return plain | _reasoning(message, quirks) if message.role is Role.ASSISTANT else plain


def _content(message: Message, quirks: Quirks) -> Any:
    content: Any = message.content
    if isinstance(message.content, list):
        content = [_item(item, quirks) for item in message.content]
    if not quirks.reasoning_part or message.role is not Role.ASSISTANT or not message.reasoning_content:
        return content
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": message.reasoning_content}]}
    if isinstance(content, list):
        return [thought, *cast(list[Json], content)]
    return [thought, {"type": "text", "text": content}] if content else [thought]


def _call(call: ToolCall, quirks: Quirks) -> Json:
    plain = call.model_dump(mode="json", exclude_none=True)
    return plain | {"id": _call_id(call.id, quirks)}


def _call_id(given: str, quirks: Quirks) -> str:
    return given if quirks.call_id_length is None else short_id(given, quirks.call_id_length)


def _sent(extra: Json) -> Json:
    """Return the additional keys of a message or a text, without those that only answers have."""
    return {key: value for key, value in extra.items() if value is not None and key not in OF_ANSWERS}


def _is_sent(key: str, quirks: Quirks) -> bool:
    """Whether an additional key of a message is sent."""
    return key in quirks.passthrough or (quirks.extra_keys and key not in OF_ANSWERS)


def _reasoning(message: Message, quirks: Quirks) -> Json:
    """Return the fields that send the reasoning of an earlier answer back."""
    given = given_fields(message.model_extra, quirks.passthrough)
    read = {key: _SENT_BACK[key](value) if key in _SENT_BACK else value for key, value in given.items()}
    passthrough = {key: value for key, value in read.items() if value}
    if passthrough or quirks.reasoning is None or not message.reasoning_content:
        return passthrough
    return {quirks.reasoning: message.reasoning_content}


def _item(item: ContentItem, quirks: Quirks) -> Json:
    extra = item.model_extra or {}
    if item.is_text():
        return {**(_sent(extra) if quirks.extra_keys else {}), "type": "text", "text": item.content}
    within = {key: value for key, value in extra.items() if key not in _BESIDE | _DATA}
    beside = {key: value for key, value in extra.items() if key in _BESIDE}
    if not quirks.extra_keys:
        within, beside = {key: value for key, value in within.items() if key in ("detail", "filename")}, {}
    return {**_file(item, within, quirks), **beside}


def _file(item: ContentItem, extra: Json, quirks: Quirks) -> Json:
    """Return an image or a document. `extra`: The keys within its object."""
    file = accepted_file(item, quirks)
    url = file.data_url if isinstance(file, InlineFile) else file
    if item.is_image():
        return {"type": "image_url", "image_url": {"url": url, **extra}}
    return _document(url, extra, quirks.document_form, is_inline=isinstance(file, InlineFile))


def _document(url: str, extra: Json, form: DocumentForm, *, is_inline: bool) -> Json:
    match form:
        case DocumentForm.FILE:
            return {"type": "file", "file": {"filename": "document.pdf", "file_data": url, **extra}}
        case DocumentForm.URL:
            name = {"document_name": extra["filename"]} if "filename" in extra else {}
            return {"type": "document_url", "document_url": url, **name}
        case DocumentForm.MEDIA if is_inline:
            return {"type": "image_url", "image_url": {"url": url, **extra}}
        case DocumentForm.MEDIA:
            return {"type": "input_audio", "input_audio": {"data": url, "format": PDF}}


def _without_blank_texts(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the messages without texts of white space only, and without messages that have nothing else."""
    if not any(map(_has_blank_text, messages)):
        return messages
    filled = [_has_content(message) for message in messages]
    kept = (messages[place] for place in kept_places([message.role.value for message in messages], filled))
    return [_without_blank_items(message) for message in kept]


def _has_blank_text(message: Message) -> bool:
    content = message.content
    if isinstance(content, list):
        return any(map(_is_blank, content))
    return is_blank_text(content)


def _has_content(message: Message) -> bool:
    if message.tool_calls or message.tool_call_id is not None or message.model_extra:
        return True
    if isinstance(message.content, list):
        return not all(_is_blank(item) for item in message.content)
    return not is_blank_text(message.content)


def _without_blank_items(message: Message) -> Message:
    if isinstance(message.content, list):
        items = [item for item in message.content if not _is_blank(item)]
        return message.model_copy(update={"content": items or message.content})
    is_blank = isinstance(message.content, str) and is_blank_text(message.content)
    return message.model_copy(update={"content": None}) if is_blank and message.tool_calls else message


def _is_blank(item: ContentItem) -> bool:
    return item.is_text() and is_blank_text(item.content)
