"""Clients that do what no HTTP library does: stop reading, or send half of a body."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit


@asynccontextmanager
async def raw_request(
    url: str, path: str, fields: Any, *, sent: float = 1.0
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Send a request, and read nothing by itself. The buffers of the client are small.

    Args:
        sent: The share of the body that is sent.
    """
    parts = urlsplit(url)
    body = json.dumps(fields).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1024)
    try:
        writer.write(head.encode() + b"\r\n\r\n" + body[: round(len(body) * sent)])
        await writer.drain()
        yield reader, writer
    finally:
        writer.close()
