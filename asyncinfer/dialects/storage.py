"""The bucket and prefix of the files of batch jobs, for providers that read and write them in the user's storage."""

from __future__ import annotations

import re
from typing import NamedTuple

from asyncinfer.dialects.batch_steps import BatchContext
from asyncinfer.errors import ConfigError

_BUCKET = re.compile(r"[a-z0-9][-._a-z0-9]{1,220}[a-z0-9]")
# The characters of S3 keys that Bedrock accepts (botocore 1.44, `S3Uri` in the service model `bedrock`, November 2026).
# Cloud Storage accepts more characters.
_KEY = re.compile(r"(?:[-!_*'().a-zA-Z0-9]+/?)*")


class StoragePath(NamedTuple):
    """An object in a bucket, or the prefix of objects.

    Args:
        scheme: `s3` or `gs`.
        key: The name of the object within the bucket, or the prefix, without a slash at either end.
    """

    scheme: str
    bucket: str
    key: str = ""

    @property
    def uri(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}".rstrip("/")

    def below(self, *names: str) -> StoragePath:
        """Return a path below this one."""
        return self._replace(key="/".join(name for name in (self.key, *names) if name))


def storage_path(uri: str) -> StoragePath | None:
    """Return the path that a URI such as `s3://bucket/prefix` means; None if it is not one."""
    scheme, mark, rest = uri.strip().partition("://")
    bucket, _, key = rest.partition("/")
    return StoragePath(scheme, bucket, key.strip("/")) if mark and _BUCKET.fullmatch(bucket) else None


def required_storage(context: BatchContext, scheme: str) -> StoragePath:
    """Return where the files of jobs are.

    Raises:
        ConfigError: The setting is missing, or is not a URI of this scheme.
    """
    example = f"{scheme}://my-bucket/my-prefix"
    if not context.storage:
        raise ConfigError(f"batch.storage: not set; give a bucket for the files of batch jobs, such as {example}")
    path = storage_path(context.storage)
    if path is None or path.scheme != scheme or not _KEY.fullmatch(path.key):
        raise ConfigError(f"batch.storage: should be like {example} (found {context.storage!r})")
    return path


def requests_path(storage: StoragePath, tag: str) -> StoragePath:
    """Return where the requests of a job are."""
    return storage.below(tag, "input.jsonl")


def results_path(storage: StoragePath, tag: str) -> StoragePath:
    """Return the prefix of the results of a job."""
    return storage.below(tag, "output")
