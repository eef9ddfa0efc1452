"""Images and documents as servers that speak OpenAI's formats accept them."""

from __future__ import annotations

from asyncinfer.dialects.media import InlineFile, file_of
from asyncinfer.dialects.openai.quirks import Files, Quirks
from asyncinfer.errors import invalid_request
from asyncinfer.types.content import ContentItem


def accepted_file(item: ContentItem, quirks: Quirks, *, accepts_document_urls: bool = False) -> InlineFile | str:
    """Return the data of an image or a document, or its URL.

    Args:
        accepts_document_urls: Documents may come by URL even if `quirks` says otherwise.

    Raises:
        RequestError: The server does not support it.
    """
    file = file_of(item, quirks.image_types)
    kind, accepted = ("images", quirks.images) if item.is_image() else ("documents", quirks.documents)
    if accepted is Files.NONE:
        raise invalid_request(f"this API does not accept {kind}")
    may_be_url = accepted is Files.ALL or (accepts_document_urls and not item.is_image())
    if not may_be_url and not isinstance(file, InlineFile):
        raise invalid_request(f"this API accepts {kind} {accepted.value}")
    return file
