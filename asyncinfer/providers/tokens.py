"""Access tokens of an account: gets one in a worker thread, keeps it, and gets the next one before it expires."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary

from asyncinfer.aio.limiters import ROWS
from asyncinfer.providers.auth import HeaderSigner, Key, Signer
from asyncinfer.types.http import HttpRequest

# A token is renewed this many seconds before it expires, or after half of its lifetime if that is later.
_MARGIN = 225.0


class Token(NamedTuple):
    """An access token. `lifetime`: the seconds until it expires."""

    text: str
    lifetime: float


class TokenSource:
    """The account, and its current token. Several event loops may share it.

    Args:
        get: Gets a new token, for the provider of this name. Blocks. Raises RequestError or EngineConfigError.

    Attributes:
        signer: Adds the current token to requests. Before the first token, it adds nothing.
    """

    def __init__(self, get: Callable[[str], Token]) -> None:
        self.signer: Signer = HeaderSigner({}, ())
        self._get, self._valid_until = get, 0.0
        self._lock, self._renewal_locks_lock = threading.Lock(), threading.Lock()
        self._renewal_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    def has_valid_token(self) -> bool:
        return time.monotonic() < self._valid_until

    def renewal_lock(self) -> asyncio.Lock:
        """Return the lock of this event loop. The row that renews the token holds it. Waiting rows use no thread."""
        with self._renewal_locks_lock:
            return self._renewal_locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    def renew(self, name: str) -> None:
        """Get a token, unless another thread has got one in the meantime. Blocks.

        Raises:
            RequestError: The account gave no token.
            EngineConfigError: There are no credentials, or they are not valid.
        """
        with self._lock:
            if self.has_valid_token():
                return
            token = self._get(name)
            self.signer = Key().signer_with(token.text)
            self._valid_until = time.monotonic() + max(token.lifetime - _MARGIN, token.lifetime / 2)


class TokenSigner:
    """Adds a valid token. If the token must be renewed, one row renews it in a worker thread, and the others wait.

    Args:
        name: The name of the provider, for messages.
    """

    def __init__(self, name: str, source: TokenSource) -> None:
        self._name, self._source = name, source

    @property
    def secrets(self) -> tuple[str, ...]:
        return self._source.signer.secrets

    async def __call__(self, request: HttpRequest) -> HttpRequest:
        if not self._source.has_valid_token():
            async with self._source.renewal_lock():
                await ROWS.run(self._source.renew, self._name, abandon_on_cancel=True)
        return await self._source.signer(request)
