"""A file of a table: on this machine, or behind a URL. Remote files are copied to a temporary file.

fsspec 2026.9 (November 2026). It needs a further package for some protocols, such as s3fs for `s3://`; its error says
which one. Credentials come from where that package looks for them, such as the environment.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from asyncinfer.data.file_kind import check_kind
from asyncinfer.data.layout import InputLayout, is_url
from asyncinfer.errors import ConfigError, InputError, MissingDependencyError, error_text
from asyncinfer.types.files import local_path
from asyncinfer.types.masking import mask_url
from asyncinfer.types.paths import expanded

_BLOCK = 1 << 20


class StoredFile:
    """A file that can be read more than once.

    Args:
        layout: How it is read.

    Attributes:
        name: Its path or URL, without secrets.
        path: Its path; None for a URL.
    """

    def __init__(self, given: str, layout: InputLayout) -> None:
        self._layout = layout
        self._url = given if is_url(given) else None
        self.path = expanded(local_path(given), "input_path") if self._url is None else None
        self.name = mask_url(given)
        self._copy: Path | None = None

    @property
    def local(self) -> Path:
        """Where the data are. Call `prepare` first."""
        found = self.path or self._copy
        assert found is not None, "prepare comes first"
        return found

    def prepare(self) -> Generator[None]:
        """Copy a remote file, and check that the file is what it is read as. Yields after each MiB.

        Raises:
            InputError: It cannot be read, or is something else.
            ConfigError: The package for this protocol is not installed.
        """
        if self._url is not None and self._copy is None:
            yield from self._download(self._url)
        check_kind(self.local, self.name, self._layout)

    def _download(self, url: str) -> Generator[None]:
        try:
            fsspec: Any = import_module("fsspec")
        except ImportError:
            raise MissingDependencyError("fsspec", "data") from None
        descriptor, name = tempfile.mkstemp(prefix="asyncinfer-input-")
        self._copy = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as copy:
                yield from _copied(fsspec, url, copy, self.name)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the copy."""
        if self._copy is not None:
            with suppress(OSError):
                self._copy.unlink(missing_ok=True)
            self._copy = None


def _copied(fsspec: Any, url: str, copy: Any, name: str) -> Generator[None]:
    try:
        with fsspec.open(url, "rb") as remote:
            while block := remote.read(_BLOCK):
                copy.write(block)
                yield
    except ImportError as error:
        raise ConfigError(f"{name}: {error_text(error)}") from None
    except FileNotFoundError:  # fsspec raises it for servers that it cannot reach, too. Its text is the URL.
        what = "there is no such file, or the server cannot be reached; check the URL"
        raise InputError(f"{name}: cannot be read: {what}") from None
    except Exception as error:  # Each protocol has its own errors. Their text may contain the URL.
        raise InputError(f"{name}: cannot be read: {mask_url(error_text(error).replace(url, name))}") from None
