"""Files are read by path or by `file://` URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncinfer.errors import InputError
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.files import local_path, read_file, with_files


@pytest.mark.parametrize(
    "url", ["file://{}", "FILE://{}", "file://localhost{}", "{}"], ids=["usual", "upper case", "with a host", "path"]
)
@pytest.mark.parametrize("name", ["a.png", "a b.png", "100%.png", "ä.png"])
def test_file_url_is_the_path_of_the_file(url: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"data")
    assert read_file(url.format(tmp_path / name)) == b"data"


def test_percent_encoding_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "ä b%.png"
    path.write_bytes(b"data")
    assert "%20" in path.as_uri()
    item = {"type": "image_path", "content": path.as_uri()}
    conversation = Conversation.from_dict({"messages": [{"role": "user", "content": [item]}]})
    assert with_files(conversation)[0].content_items[0].binary == b"data"


def test_relative_path_after_the_scheme_is_allowed() -> None:
    assert local_path("file://pictures/a.png") == "pictures/a.png"


def test_missing_file_is_named_as_it_was_given() -> None:
    with pytest.raises(InputError, match="'file:///no/such/file.png' cannot be read"):
        read_file("file:///no/such/file.png")
