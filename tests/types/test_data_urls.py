"""The parts of data URLs."""

from __future__ import annotations

import pytest

from asyncinfer.types.data_urls import DataUrl, data_url


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("data:image/png;base64,iVBO", DataUrl("image/png", True, "iVBO")),
        ("DATA:image/PNG;BASE64,iVBO", DataUrl("image/PNG", True, "iVBO")),
        ("data:text/plain;charset=utf-8;base64,YQ==", DataUrl("text/plain", True, "YQ==")),
        ("data:text/plain,a,b", DataUrl("text/plain", False, "a,b")),
        ("data:;base64,YQ==", DataUrl("", True, "YQ==")),
        ("data:,a", DataUrl("", False, "a")),
    ],
)
def test_data_url_has_media_type_and_data(text: str, parts: DataUrl) -> None:
    assert data_url(text) == parts


@pytest.mark.parametrize("text", ["", "https://example.com/a,b", "data: there is no such thing", "a data:,b"])
def test_other_texts_are_not_data_urls(text: str) -> None:
    assert data_url(text) is None
