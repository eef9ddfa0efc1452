"""Images and documents as data URLs."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer import InferenceErrorType, RequestError
from asyncinfer.dialects.media import data_url, media_type

SIGNATURES = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF89a",
    "image/webp": b"RIFF\x10\x00\x00\x00WEBP",
    "application/pdf": b"%PDF-1.7",
}


@given(st.sampled_from(sorted(SIGNATURES)), st.binary())
def test_media_type_is_read_from_the_first_bytes_and_all_bytes_are_kept(kind: str, rest: bytes) -> None:
    image = SIGNATURES[kind] + rest
    head, _, data = data_url(image).partition(",")
    assert head == f"data:{kind};base64"
    assert base64.b64decode(data, validate=True) == image


def test_older_gif_version_is_a_gif() -> None:
    assert media_type(b"GIF87a...") == "image/gif"


@pytest.mark.parametrize("data", [b"", b"RIFF\x10\x00\x00\x00WAVE", b"RIFF", b"BM", b"<svg/>", b"%PDX-1.7", b"\x89PN"])
def test_file_of_another_type_is_refused_and_not_retried(data: bytes) -> None:
    with pytest.raises(RequestError, match="neither a PNG, JPEG, GIF or WebP image nor a PDF") as caught:
        data_url(data)
    assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.CONFIG, False)
