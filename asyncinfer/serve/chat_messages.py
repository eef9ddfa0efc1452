"""Reads the messages and the tools of a request to `/v1/chat/completions`.

Only fields and parts that this server knows are accepted. An engine may pass fields on to its API, and an unknown field
may name a URL or a stored file of another client. Unknown fields are ignored; unknown parts are errors.

Source: `ChatCompletionMessageParam` and `ChatCompletionToolParam` of openai-python 3.57, November 2026. `cache_control`
is a field of the APIs of Anthropic and OpenRouter.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

from asyncinfer.dialects.fields import as_object
from asyncinfer.dialects.sent_back import plain_fields
from asyncinfer.serve.api_errors import ApiError, bad_request
from asyncinfer.serve.kept_fields import kept_fields, kept_of_call
from asyncinfer.types.content import Type

Json = dict[str, Any]
# OpenAI's name for the author of the instructions.
_DEVELOPER = "developer"
_ASSISTANT, _TOOL = "assistant", "tool"
_ROLES = ("system", _DEVELOPER, "user", _ASSISTANT, _TOOL)
_REFUSAL = "refusal"
_FUNCTION_FIELDS = ("name", "description", "parameters", "strict")
_CALL_FIELDS = ("name", "arguments")
_RESULT_FIELDS = ("tool_call_id", "is_error")


def read_message(location: str, given: Any) -> Json:
    """Return the fields of a message.

    Args:
        location: The place in the request, for errors.

    Raises:
        ApiError: It is not an object, its role is not known, or it has a part that is not supported.
    """
    if not isinstance(given, dict):
        raise bad_request(f"{location}: should be an object.", location)
    message = cast(Json, given)
    role = message.get("role")
    if role not in _ROLES:
        location = f"{location}.role"
        raise bad_request(f"{location}: should be one of {', '.join(_ROLES)}.", location)
    content = _content(f"{location}.content", message.get("content"))
    fields: Json = {"role": "system" if role == _DEVELOPER else role, "content": content, **_cache_control(message)}
    if message.get("name") is not None:
        fields["name"] = message["name"]
    if role == _ASSISTANT:
        return fields | _answer(message, content)
    return fields | (_selected(message, _RESULT_FIELDS) if role == _TOOL else {})


def read_tool(given: Any) -> Any:
    """Return the fields of a tool. Anything but an object is returned unchanged."""
    if not isinstance(given, dict):
        return given
    tool = cast(Json, given)
    kind, function = tool.get("type", "function"), _function(tool, _FUNCTION_FIELDS)
    return {"type": kind, **_cache_control(tool), "function": function}


def _answer(message: Mapping[str, Any], content: Any) -> Json:
    """Return the further fields of a message of the assistant."""
    fields = kept_fields(message)
    if isinstance(calls := message.get("tool_calls"), list):
        fields["tool_calls"] = [_call(call) for call in cast(list[Any], calls)]
    elif calls is not None:
        fields["tool_calls"] = calls
    if not content and isinstance(message.get(_REFUSAL), str):
        fields["content"] = message[_REFUSAL]
    return fields


def _call(given: Any) -> Any:
    if not isinstance(given, dict):
        return given
    call = cast(Json, given)
    plain = {name: call[name] for name in ("id", "type") if call.get(name) is not None}
    return {**plain, "function": _function(call, _CALL_FIELDS), **kept_of_call(call)}


def _function(owner: Mapping[str, Any], names: Collection[str]) -> Any:
    """Return these fields of the function in a tool or a call. Anything but an object is returned unchanged."""
    function: Any = owner.get("function")
    return _selected(cast(Json, function), names) if isinstance(function, dict) else function


def _selected(fields: Mapping[str, Any], names: Collection[str]) -> Json:
    return {name: fields[name] for name in names if name in fields}


def _content(location: str, content: Any) -> Any:
    if not isinstance(content, list):
        return content
    return [_part(f"{location}[{index}]", part) for index, part in enumerate(cast(list[Any], content))]


def _part(location: str, given: Any) -> Any:
    """Return a part of the content as an item of this package."""
    part = as_object(given)
    match part.get("type"):
        case "text":
            return {"type": Type.TEXT, "content": part.get("text"), **_cache_control(part)}
        case "refusal":
            return {"type": Type.TEXT, "content": part.get(_REFUSAL)}
        case "image_url":
            return {"type": Type.IMAGE_URL, **_image(location, part.get("image_url")), **_cache_control(part)}
        case "file":
            return {"type": Type.DOCUMENT_URL, **_file(location, as_object(part.get("file"))), **_cache_control(part)}
        case "input_audio":
            raise bad_request(f"{location}: audio is not supported.", location)
        case kind:
            raise _not_supported(location, kind)


def _image(location: str, given: Any) -> Json:
    image = {"url": given} if isinstance(given, str) else as_object(given)
    if not isinstance(image.get("url"), str):
        raise bad_request(f"{location}: the image has no URL in image_url.url.", location)
    return {"content": image["url"], **plain_fields(image, ("detail",))}


def _file(location: str, file: Mapping[str, Any]) -> Json:
    if file.get("file_id") is not None or not isinstance(file.get("file_data"), str):
        raise bad_request(f"{location}: the server stores no files; send the file as file.file_data.", location)
    return {"content": file["file_data"], **plain_fields(file, ("filename",))}


def _cache_control(owner: Mapping[str, Any]) -> Json:
    """Return the mark up to which a prompt is cached."""
    mark = plain_fields(as_object(owner.get("cache_control")), ("type", "ttl"))
    return {"cache_control": mark} if mark else {}


def _not_supported(location: str, kind: Any) -> ApiError:
    shown = kind if isinstance(kind, str) else type(kind).__name__
    return bad_request(f"{location}: a part of the type {shown[:60]!r} is not supported.", location)
