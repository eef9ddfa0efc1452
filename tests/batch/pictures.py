"""Conversations with an image file, an image in a data URL, and a PDF document."""

from __future__ import annotations

import base64
from pathlib import Path

from asyncinfer import ContentItem, Conversation, Message, Role, Type

# One black pixel, and an empty document.
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"


def rows_with_files(folder: Path, count: int, *, has_pdf: bool = True, size: int = 0) -> list[Conversation]:
    """Questions that have these files, each in a folder of its own.

    Args:
        has_pdf: Whether they have the document. Not all providers accept it.
        size: Bytes that are added to each image file.
    """
    (folder / "image.png").write_bytes(PNG + bytes(size))
    (folder / "document.pdf").write_bytes(PDF)
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    files = [
        ContentItem(type=Type.IMAGE_PATH, content=str(folder / "image.png")),
        ContentItem(type=Type.IMAGE_URL, content=url),
        *([ContentItem(type=Type.DOCUMENT_PATH, content=str(folder / "document.pdf"))] if has_pdf else []),
    ]
    texts = [ContentItem(type=Type.TEXT, content=f"question {number}") for number in range(count)]
    return [Conversation(messages=[Message(role=Role.USER, content=[*files, text])]) for text in texts]
