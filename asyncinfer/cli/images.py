"""What `--image` names: an image, or a PDF document whose pages are sent as images."""

from __future__ import annotations

from asyncinfer.aio.limiters import DISK
from asyncinfer.cli.pdf_pages import pdf_pages
from asyncinfer.engines.local.image_fetch import ImageFetcher
from asyncinfer.types.content import ContentItem, Type
from asyncinfer.types.files import local_path, read_file
from asyncinfer.types.paths import expanded

_PDF = ".pdf"


async def image_items(given: str) -> list[ContentItem]:
    """Return the images that a path or a URL names.

    Raises:
        ConfigError: The path is not usable, or a PDF document cannot be rendered.
        InputError: A PDF document cannot be read. RequestError: It cannot be fetched.
    """
    if "://" in given and not given.lower().startswith("file://"):
        return await _of_url(given)
    path = str(expanded(await DISK.run(local_path, given), "--image"))
    if not path.lower().endswith(_PDF):
        return [ContentItem(type=Type.IMAGE_PATH, content=path)]
    return await _pages(await DISK.run(read_file, path), given)


async def _of_url(url: str) -> list[ContentItem]:
    """The engine or the API fetches an image. A PDF document is downloaded here, from any address."""
    if not url.partition("?")[0].lower().endswith(_PDF):
        return [ContentItem(type=Type.IMAGE_URL, content=url)]
    async with ImageFetcher(allow_private=True) as fetcher:
        return await _pages(await fetcher.fetch(url), url)


async def _pages(document: bytes, name: str) -> list[ContentItem]:
    pages = await DISK.run(pdf_pages, document, name)
    return [ContentItem(type=Type.IMAGE_BINARY, binary=page) for page in pages]
