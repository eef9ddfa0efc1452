"""`--image` takes an image or a PDF document, by path or by URL."""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from asyncinfer import ConfigError, MissingDependencyError, Type
from asyncinfer.cli import pdf_pages as pages_module
from asyncinfer.cli.images import image_items
from asyncinfer.cli.pdf_pages import pdf_pages
from tests.file_server import FileServer


class PdfiumError(RuntimeError):
    """What pypdfium2 raises."""


class Page:
    def __init__(self, colour: str) -> None:
        self._colour = colour

    def render(self, *, scale: float) -> Page:
        self._scale = scale
        return self

    def to_pil(self) -> Any:
        return Image.new("RGBA", (round(72 * self._scale), round(36 * self._scale)), self._colour)


class Document:
    """As `pypdfium2.PdfDocument`: iterating gives the pages. The document is a list of colours."""

    def __init__(self, data: bytes) -> None:
        if not data.startswith(b"%PDF-"):
            raise PdfiumError("Data format error")
        self._colours = data.decode().split()[1:]

    def __iter__(self) -> Any:
        return iter([Page(colour) for colour in self._colours])

    def close(self) -> None:
        pass


@pytest.fixture
def pdfium(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module in place of pypdfium2."""
    module: Any = ModuleType("pypdfium2")
    module.PdfDocument, module.PdfiumError = Document, PdfiumError
    monkeypatch.setitem(sys.modules, "pypdfium2", module)
    monkeypatch.setattr(pages_module, "find_spec", lambda _: True)


@pytest.mark.usefixtures("pdfium")
class TestPages:
    def test_each_page_is_a_png_image_of_200_dots_per_inch(self) -> None:
        images = [Image.open(BytesIO(page)) for page in pdf_pages(b"%PDF- red blue", "x.pdf")]
        assert [(image.format, image.size, image.mode) for image in images] == [("PNG", (200, 100), "RGB")] * 2
        assert [image.getpixel((0, 0)) for image in images] == [(255, 0, 0), (0, 0, 255)]

    @pytest.mark.parametrize(
        ("data", "said"), [(b"junk", r"x\.pdf cannot be read as a PDF document"), (b"%PDF-", r"x\.pdf has no pages")]
    )
    def test_other_data_is_refused(self, data: bytes, said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            pdf_pages(data, "x.pdf")

    async def test_document_at_a_path_becomes_its_pages(self, tmp_path: Path) -> None:
        (tmp_path / "a.PDF").write_bytes(b"%PDF- red blue")
        for given in (str(tmp_path / "a.PDF"), f"file://{tmp_path}/a.PDF"):
            assert [item.type for item in await image_items(given)] == [Type.IMAGE_BINARY] * 2

    async def test_document_at_a_url_becomes_its_pages(self) -> None:
        with FileServer({"/a.pdf": b"%PDF- red"}) as server:
            [item] = await image_items(f"{server.url}/a.pdf")
        assert item.type is Type.IMAGE_BINARY


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_module, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'asyncinfer\[pdf\]'"):
        pdf_pages(b"%PDF-", "x.pdf")


@pytest.mark.parametrize(
    ("given", "kind", "content"),
    [
        ("https://example.com/a.png", Type.IMAGE_URL, "https://example.com/a.png"),
        ("pictures/a.png", Type.IMAGE_PATH, "pictures/a.png"),
        ("~/a.png", Type.IMAGE_PATH, "HOME/a.png"),
        ("file:///no/a%20b.png", Type.IMAGE_PATH, "/no/a b.png"),
    ],
)
async def test_image_is_passed_on(given: str, kind: Type, content: str) -> None:
    [item] = await image_items(given)
    assert (item.type, item.content) == (kind, content.replace("HOME", str(Path.home())))
