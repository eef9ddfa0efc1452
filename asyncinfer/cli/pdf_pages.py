"""Renders the pages of a PDF document as images, for models that read images but no documents.

Uses pypdfium2 (checked with 5.15, November 2026): `PdfDocument(bytes)`, `page.render(scale=...)`, where scale 1 is 72
dots per inch, and `bitmap.to_pil()`.
"""

from __future__ import annotations

from contextlib import closing
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from typing import Any

from asyncinfer.errors import ConfigError, MissingDependencyError

# Dots per inch, as in Oumi.
_DPI = 200


def pdf_pages(document: bytes, name: str) -> list[bytes]:
    """Return each page as a PNG image. Blocks.

    Args:
        name: The name of the document in messages.

    Raises:
        MissingDependencyError: pypdfium2 or Pillow is not installed.
        ConfigError: The document cannot be read, or has no pages.
    """
    if find_spec("pypdfium2") is None:
        raise MissingDependencyError("pypdfium2", "pdf")
    if find_spec("PIL") is None:
        raise MissingDependencyError("pillow", "pdf")
    pdfium: Any = import_module("pypdfium2")
    try:
        with closing(pdfium.PdfDocument(document)) as pages:
            images = [_png(page) for page in pages]
    except pdfium.PdfiumError as error:
        raise ConfigError(f"{name} cannot be read as a PDF document: {error}") from error
    if not images:
        raise ConfigError(f"{name} has no pages")
    return images


def _png(page: Any) -> bytes:
    written = BytesIO()
    page.render(scale=_DPI / 72).to_pil().convert("RGB").save(written, "PNG")
    return written.getvalue()
