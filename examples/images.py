"""Ask a vision model about a picture that this program draws.

    python examples/images.py model.model_name=my-vision-model remote_params.api_url=http://localhost:8000/v1
    python examples/images.py engine=OPENAI model.model_name=gpt-5-mini remote_params.api_url=null

Needs Pillow: pip install '.[images]'
"""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path

from PIL import Image, ImageDraw

from asyncinfer import ContentItem, Conversation, InferenceConfig, Message, Role, Type, build_engine


def draw_traffic_light() -> bytes:
    """Return a PNG picture."""
    image = Image.new("RGB", (200, 400), "white")
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((40, 20, 160, 380), radius=20, fill="black")
    for top, colour in ((40, "red"), (150, "dimgray"), (260, "dimgray")):
        draw.ellipse((50, top, 150, top + 100), fill=colour)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


async def main() -> None:
    config = InferenceConfig.from_yaml(Path(__file__).with_name("remote.yaml"), overrides=sys.argv[1:])
    # A message can hold several items. For a file, use `type=Type.IMAGE_PATH, content="photo.jpg"`.
    question = ContentItem(type=Type.TEXT, content="May I drive? Answer in one sentence.")
    picture = ContentItem(type=Type.IMAGE_BINARY, binary=draw_traffic_light())
    chat = Conversation(messages=[Message(role=Role.USER, content=[question, picture])])
    async with build_engine(config) as engine:
        print((await engine.agenerate(chat)).text)


if __name__ == "__main__":
    asyncio.run(main())
