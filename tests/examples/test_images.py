"""examples/images.py: a picture in a message."""

from __future__ import annotations

import base64
import io

import pytest

from tests.examples.programs import at, run_program
from tests.faults import FaultServer

pytest.importorskip("PIL", reason="needs the extra images")
pytestmark = pytest.mark.slow  # Each test starts a process.


async def test_picture_is_sent_as_png() -> None:
    from PIL import Image

    async with FaultServer() as server:
        printed = await run_program("images.py", *at(server.url))
    assert printed.startswith("answer to")
    [message] = server.asks[0].body["messages"]
    text, picture = message["content"]
    assert text["text"].startswith("May I drive?")
    label, _, data = picture["image_url"]["url"].partition(",")
    assert label == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (image.size, image.getpixel((100, 90))) == ((200, 400), (255, 0, 0))
