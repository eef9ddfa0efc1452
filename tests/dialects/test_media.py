"""Images and documents as requests contain them: their media types, data URLs, and converted images."""

from __future__ import annotations

import base64
import sys
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from asyncinfer import ContentItem, InferenceErrorType, RequestError, Type
from asyncinfer.dialects.media import GOOGLE_IMAGES, IMAGES, InlineFile, file_of, media_type
from asyncinfer.dialects.pillow import _formats, open_image

SIGNATURES = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF89a",
    "image/webp": b"RIFF\x10\x00\x00\x00WEBP",
    "application/pdf": b"%PDF-1.7",
}
PNG = SIGNATURES["image/png"] + b" and so on"


def binary(data: bytes) -> ContentItem:
    is_pdf = data.startswith(b"%PDF")
    return ContentItem.model_construct(type=Type.DOCUMENT_BINARY if is_pdf else Type.IMAGE_BINARY, binary=data)


def by_url(url: str) -> ContentItem:
    return ContentItem(type=Type.IMAGE_URL, content=url)


def sent(item: ContentItem, images: frozenset[str] = IMAGES) -> InlineFile:
    file = file_of(item, images)
    assert isinstance(file, InlineFile)
    return file


def image(format: str, mode: str = "RGB", size: tuple[int, int] = (4, 2), **options: Any) -> bytes:
    buffer = BytesIO()
    Image.new(mode, size).save(buffer, format, **options)
    return buffer.getvalue()


def box(major: bytes, *brands: bytes) -> bytes:
    """The first box of an AVIF or HEIF file."""
    content = major + bytes(4) + b"".join(brands)
    return (8 + len(content)).to_bytes(4, "big") + b"ftyp" + content + b" and so on"


BITMAP = image("BMP")


@given(st.sampled_from(sorted(SIGNATURES)), st.binary())
def test_media_type_is_read_from_the_first_bytes_and_all_bytes_are_kept(kind: str, rest: bytes) -> None:
    image = SIGNATURES[kind] + rest
    head, _, data = sent(binary(image)).data_url.partition(",")
    assert head == f"data:{kind};base64"
    assert base64.b64decode(data, validate=True) == image


def test_older_gif_version_is_a_gif() -> None:
    assert media_type(b"GIF87a...") == "image/gif"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (image("BMP"), "image/bmp"),
        (image("TIFF"), "image/tiff"),
        (image("AVIF"), "image/avif"),
        (image("JPEG2000"), "image/jp2"),
        (image("ICO", size=(16, 16)), "image/x-icon"),
        (b"MM\x00*\x00\x00\x00\x08", "image/tiff"),
        (box(b"heic", b"mif1", b"heic"), "image/heic"),
        (box(b"mif1", b"mif1", b"heic"), "image/heic"),
        (box(b"mif1", b"mif1", b"avif"), "image/avif"),
        (box(b"msf1"), "image/heif"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"),
        (b"\n%PDF-1.7", "application/pdf"),
    ],
)
def test_media_type_of_further_formats_is_read_from_the_bytes(data: bytes, kind: str) -> None:
    assert media_type(data) == kind


@pytest.mark.parametrize(
    "data", [b"", b"RIFF\x10\x00\x00\x00WAVE", b"RIFF", b"BM", b"BM and text", b"%PDX-1.7", b"\x89PN", box(b"mp42")]
)
def test_file_of_another_type_is_refused_and_not_retried(data: bytes) -> None:
    with pytest.raises(RequestError, match="neither a known kind of image nor a PDF") as caught:
        file_of(binary(data))
    assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.CONFIG, False)


@pytest.mark.parametrize(
    "item", [binary(b"<svg/>"), by_url("data:image/png;base64," + base64.b64encode(b"<svg/>").decode())]
)
def test_vector_image_is_refused(item: ContentItem) -> None:
    with pytest.raises(RequestError, match=r"holds 'image/svg\+xml', which this API does not accept"):
        file_of(item)


@pytest.mark.parametrize("label", ["image/jpeg", "image/jpg", "IMAGE/PNG", "text/plain", ""])
def test_data_url_is_sent_with_the_type_of_its_bytes(label: str) -> None:
    encoded = base64.b64encode(PNG).decode()
    assert sent(by_url(f"data:{label};base64,{encoded}")) == InlineFile("image/png", encoded)


def test_document_labelled_as_another_type_is_sent_as_a_pdf() -> None:
    url = "data:application/octet-stream;base64," + base64.b64encode(b"%PDF-1.7").decode()
    assert sent(ContentItem(type=Type.DOCUMENT_URL, content=url)).media_type == "application/pdf"


@pytest.mark.parametrize(("label", "kind"), [("image/jpg", "image/jpeg"), ("image/x-png", "image/png")])
def test_label_of_an_image_does_not_count_and_is_named_as_the_standard_says(label: str, kind: str) -> None:
    with pytest.raises(RequestError, match=f"labelled '{kind}', but its bytes are not of a known format"):
        file_of(by_url(f"data:{label};base64,AAAA"))


def test_label_of_a_document_counts_if_the_bytes_are_unknown() -> None:
    item = ContentItem(type=Type.DOCUMENT_URL, content="data:application/x-pdf;base64,AAAA")
    assert sent(item) == InlineFile("application/pdf", "AAAA")


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,iVBORw0KGgr-_w",
        "data:image/png;base64,iVBORw0KGgr%2B%2Fw%3D%3D",
        "data:image/png;base64,iVBORw0K\nGgr+\r\n /w==",
        "DATA:image/png; charset=x ;BASE64,iVBORw0KGgr+/w==",
    ],
)
def test_data_url_in_another_spelling_of_base64_is_written_in_the_standard_one(url: str) -> None:
    assert sent(by_url(url)) == InlineFile("image/png", "iVBORw0KGgr+/w==")


@pytest.mark.parametrize("data", ["a", "a===", "é", "****"])
def test_data_url_that_is_not_base64_is_refused(data: str) -> None:
    with pytest.raises(RequestError, match="a data URL is not base64"):
        file_of(by_url(f"data:image/png;base64,{data}"))


def test_url_is_sent_as_it_is() -> None:
    assert file_of(by_url("https://x.example/cat.bmp")) == "https://x.example/cat.bmp"


# Conversion


def pixels(file: InlineFile) -> Any:
    return open_image(base64.b64decode(file.base64))


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P"])
@pytest.mark.parametrize("format", ["BMP", "TIFF"])
def test_bitmap_is_converted_to_png(format: str, mode: str) -> None:
    file = sent(binary(image(format, mode)))
    assert file.media_type == "image/png"
    assert (pixels(file).format, pixels(file).size) == ("PNG", (4, 2))


def labelled_png(data: bytes) -> ContentItem:
    return by_url("data:image/png;base64," + base64.b64encode(data).decode())


@pytest.mark.parametrize("way", [binary, labelled_png])
@pytest.mark.parametrize("format", ["PPM", "PCX", "SGI", "DDS", "XBM", "ICO"])
def test_image_that_pillow_reads_is_converted(format: str, way: Any) -> None:
    file = sent(way(image(format, "1" if format == "XBM" else "RGB", (32, 32))))
    assert (file.media_type, pixels(file).format, pixels(file).size) == ("image/png", "PNG", (32, 32))


@pytest.mark.parametrize("way", [binary, labelled_png])
@pytest.mark.parametrize("format", ["TGA", "EPS", "ICNS", "MSP"])
def test_image_of_another_format_is_refused_whatever_its_label_says(format: str, way: Any) -> None:
    with pytest.raises(RequestError, match="unknown|not of a known format|does not accept"):
        file_of(way(image(format, "1" if format == "MSP" else "RGB", (32, 32))))


@pytest.mark.parametrize("options", [{}, {"bitmap_format": "bmp"}])
def test_image_in_an_icon_with_too_many_pixels_is_not_decoded(options: dict[str, Any]) -> None:
    data = bytearray(image("ICO", "RGBA", (32, 32), sizes=[(32, 32)], **options))
    start = int.from_bytes(data[18:22], "little")
    at = start + (4 if options else 16)
    data[at : at + 8] = (9_000).to_bytes(4, "little" if options else "big") * 2
    with pytest.raises(RequestError, match="81,000,000 pixels; at most 64,000,000 can be converted"):
        file_of(binary(bytes(data)))


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "F", "I;16", "RGBA"])
def test_image_in_any_colour_mode_is_converted(mode: str) -> None:
    assert pixels(sent(binary(image("TIFF", mode)))).format == "PNG"


def test_bitmap_in_a_data_url_is_converted_too() -> None:
    url = "data:image/png;base64," + base64.b64encode(image("BMP")).decode()
    assert pixels(sent(by_url(url))).format == "PNG"


def test_photograph_is_converted_to_jpeg_and_one_with_transparency_to_png() -> None:
    assert sent(binary(image("AVIF"))).media_type == "image/jpeg"
    assert sent(binary(image("AVIF", "RGBA"))).media_type == "image/png"


def test_gif_is_converted_only_for_apis_without_gif() -> None:
    item = binary(image("GIF", "P"))
    assert sent(item).media_type == "image/gif"
    assert sent(item, GOOGLE_IMAGES).media_type == "image/png"


def test_heic_photograph_is_sent_unchanged_to_google() -> None:
    assert sent(binary(box(b"heic")), GOOGLE_IMAGES).media_type == "image/heic"


def test_heic_photograph_needs_a_further_package_for_other_apis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    _formats.cache_clear()
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    with pytest.raises(RequestError, match=r"pillow-heif is not installed. Run: pip install 'asyncinfer\[images\]'"):
        file_of(binary(box(b"heic")))


def test_image_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # The image lies on its side.
    assert pixels(sent(binary(image("TIFF", exif=exif)))).size == (2, 4)


def test_missing_pillow_is_an_error_of_the_row_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(RequestError, match=r"'image/bmp'.* pip install 'asyncinfer\[images\]'") as caught:
        file_of(binary(BITMAP))
    assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.CONFIG, False)


@pytest.mark.parametrize("data", [BITMAP[:30], b"II*\x00 and text", box(b"avif")])
def test_broken_image_is_an_error_of_the_row(data: bytes) -> None:
    with pytest.raises(RequestError, match="cannot be converted") as caught:
        file_of(binary(data))
    assert caught.value.error_type is InferenceErrorType.CONFIG


@pytest.mark.parametrize(
    ("side", "why"),
    [
        (9_000, "81,000,000 pixels; at most 64,000,000 can be converted"),
        (10_000, "cannot be converted: it has too many pixels"),
        (100_000, "cannot be converted: it has too many pixels"),
    ],
)
def test_image_with_too_many_pixels_is_not_decoded(side: int, why: str) -> None:
    header = bytearray(BITMAP)
    header[18:26] = side.to_bytes(4, "little") * 2
    with pytest.raises(RequestError, match=why):
        file_of(binary(bytes(header)))
