"""Content parts of the Responses API: `input_text`, `input_image` and `input_file`.

Source: `ResponseInputContentParam` of openai-python 3.57, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from asyncinfer.dialects.fields import as_object, given_fields
from asyncinfer.dialects.media import InlineFile, is_data_url
from asyncinfer.dialects.openai.files import accepted_file
from asyncinfer.dialects.openai.quirks import Quirks
from asyncinfer.types.content import ContentItem, Type
from asyncinfer.types.media_types import PDF

Json = dict[str, Any]
# The additional keys of parts that the API has a field for.
TEXT_KEYS = frozenset({"prompt_cache_breakpoint"})
IMAGE_KEYS = frozenset({"detail", "prompt_cache_breakpoint"})
FILE_KEYS = frozenset({"detail", "filename", "prompt_cache_breakpoint"})
_DETAIL = "auto"
_FILENAME = "document.pdf"
_TEXTS = frozenset({"input_text", "output_text", "text", "summary_text"})


def written_content(content: str | Sequence[ContentItem] | None, quirks: Quirks) -> str | list[Json]:
    """Return the content of a message, or of the result of a tool, as the API accepts it.

    Raises:
        RequestError: The server does not support an image or a document.
    """
    if isinstance(content, str | None):
        return content or ""
    return [_part(item, quirks) for item in content]


def read_content(content: Any) -> str | list[ContentItem]:
    """Return the content of a message, or of the result of a tool, in a request.

    Raises:
        ValueError: A part is not a text, an image or a file, or refers to a file that is stored at the API.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ValueError("the content should be a text or a list of parts")
    return [_item(as_object(part)) for part in cast(list[Any], content)]


def _part(item: ContentItem, quirks: Quirks) -> Json:
    if item.is_text():
        return {"type": "input_text", "text": item.content, **given_fields(item.model_extra, TEXT_KEYS)}
    # The API accepts the URLs of documents too, unlike that of chat completions.
    file = accepted_file(item, quirks, accepts_document_urls=True)
    url = file.data_url if isinstance(file, InlineFile) else file
    if item.is_image():
        image = {"type": "input_image", "detail": _DETAIL, "image_url": url}
        return image | given_fields(item.model_extra, IMAGE_KEYS)
    data = {"filename": _FILENAME, "file_data": url} if isinstance(file, InlineFile) else {"file_url": url}
    return {"type": "input_file", **data, **given_fields(item.model_extra, FILE_KEYS)}


def _item(part: Mapping[str, Any]) -> ContentItem:
    kind = part.get("type")
    match kind:
        case str() if kind in _TEXTS:
            kept = given_fields(part, TEXT_KEYS)
            return ContentItem.model_validate({"type": Type.TEXT, "content": part.get("text"), **kept})
        case "refusal":
            return ContentItem(type=Type.TEXT, content=part.get("refusal"))
        case "input_image":
            kept = given_fields(part, IMAGE_KEYS - {"detail"})
            detail = part.get("detail") or _DETAIL
            kept |= {"detail": detail} if detail != _DETAIL else {}
            return ContentItem.model_validate({"type": Type.IMAGE_URL, "content": _url(part, "image_url"), **kept})
        case "input_file":
            url, kept = _url(part, "file_url", "file_data"), given_fields(part, FILE_KEYS)
            return ContentItem.model_validate({"type": Type.DOCUMENT_URL, "content": url, **kept})
        case _:
            raise ValueError(f"a part of the type {kind!r} is not supported")


def _url(part: Mapping[str, Any], *names: str) -> str:
    """Return the URL in a part. The data of a file may come without the beginning of a data URL."""
    url = next((url for name in names if (url := part.get(name))), None)
    if isinstance(url, str):
        is_bare = "file_data" in names and not part.get("file_url") and not is_data_url(url)
        return f"data:{PDF};base64,{url}" if is_bare else url
    if part.get("file_id"):
        raise ValueError("`file_id` refers to a stored file, which is not supported; send its data or its URL")
    raise ValueError(f"a part of the type {part.get('type')!r} needs {' or '.join(f'`{name}`' for name in names)}")
