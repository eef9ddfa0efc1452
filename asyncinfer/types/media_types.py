"""Media types of images and PDF documents, from their first bytes.

Sources: the formats' specifications, and for AVIF and HEIF the brands of ISO/IEC 23000-22 and 23008-12.
"""

from __future__ import annotations

PDF = "application/pdf"
HEIC = "image/heic"
ICON = "image/x-icon"
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"II+\x00", "image/tiff"),
    (b"MM\x00+", "image/tiff"),
    (b"\x00\x00\x00\x0cjP  ", "image/jp2"),
    (b"\xff\x4f\xff\x51", "image/jp2"),
    (b"\x00\x00\x01\x00", ICON),
    *((b"P%d%c" % (number, space), "image/x-portable-anymap") for number in range(1, 7) for space in b"\t\n\r "),
    *((b"\n%c\x01" % version, "image/x-pcx") for version in (0, 2, 3, 5)),
    (b"\x01\xda\x00", "image/sgi"),
    (b"\x01\xda\x01", "image/sgi"),
    (b"DDS |\x00\x00\x00", "image/vnd-ms.dds"),
    (b"icns", "image/icns"),
    (b"%!PS", "application/postscript"),
    (b"qoif", "image/qoi"),
    (b"%PDF-", PDF),
)
# The brands of AVIF and HEIF files, in the order in which they decide.
_BRANDS = (
    ({b"avif", b"avis"}, "image/avif"),
    ({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"}, HEIC),
    ({b"mif1", b"msf1"}, "image/heif"),
)
# Names that are in use for the standard ones.
_OTHER_NAMES = {
    "image/jpg": "image/jpeg",
    "image/jpe": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/jfif": "image/jpeg",
    "image/x-png": "image/png",
    "image/apng": "image/png",
    "image/x-bmp": "image/bmp",
    "image/x-ms-bmp": "image/bmp",
    "image/tif": "image/tiff",
    "image/x-tiff": "image/tiff",
    "image/vnd.microsoft.icon": ICON,
    "application/x-pdf": PDF,
}
# A PDF may begin with other bytes, and an SVG image with comments.
_HEAD = 1024


def standard_type(label: str) -> str:
    """Return the standard name of a media type."""
    return _OTHER_NAMES.get(label, label)


def sniffed_type(data: bytes) -> str | None:
    """Return the media type of an image or a PDF document. None if the format is unknown."""
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    if data.startswith(b"BM") and data[6:10] == bytes(4):
        return "image/bmp"
    return _type_of_brands(data) if data[4:8] == b"ftyp" else _type_within(data[:_HEAD])


def _type_of_brands(data: bytes) -> str | None:
    """Return the type of an ISO media file, from the brands in its first box."""
    box = data[8 : min(int.from_bytes(data[:4], "big"), _HEAD)]
    brands = {box[place : place + 4] for place in range(0, len(box), 4)}
    return next((kind for known, kind in _BRANDS if known & brands), None)


def _type_within(head: bytes) -> str | None:
    """Return the type of a file whose signature is not at its beginning."""
    if b"<svg" in head and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "image/svg+xml"
    if head.lstrip().startswith(b"#define") and b"_width" in head:
        return "image/x-xbitmap"
    return PDF if b"%PDF-" in head else None
