"""The bucket and prefix of the files of batch jobs, for providers that read and write them in the user's storage."""

from __future__ import annotations

import re
from typing import NamedTuple

from asyncinfer.dialects.batch import BatchContext
from asyncinfer.errors import ConfigError

_BUCKET = re.compile(r"[a-z0-9][-._a-z0-9]{1,220}[a-z0-9]")
# The characters of S3 keys that Bedrock accepts. Those of Cloud Storage may be others, but these work everywhere.
_KEY = re.compile(r"(?:[-!_*'().a-zA-Z0-9]+/?)*")


class Place(NamedTuple):
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

    def below(self, *names: str) -> Place:
        """Return a place below this one."""
        return self._replace(key="/".join(name for name in (self.key, *names) if name))


def place_of(uri: str) -> Place | None:
    """Return the place that a URI such as `s3://bucket/prefix` means; None if it is not one."""
    scheme, mark, rest = uri.strip().partition("://")
    bucket, _, key = rest.partition("/")
    return Place(scheme, bucket, key.strip("/")) if mark and _BUCKET.fullmatch(bucket) else None


def storage_of(context: BatchContext, scheme: str) -> Place:
    """Return where the files of jobs are.

    Raises:
        ConfigError: The setting is missing, or is not a URI of this scheme.
    """
    example = f"{scheme}://my-bucket/my-prefix"
    if not context.storage:
        raise ConfigError(f"batch.storage: not set; give a bucket for the files of batch jobs, such as {example}")
    place = place_of(context.storage)
    if place is None or place.scheme != scheme or not _KEY.fullmatch(place.key):
        raise ConfigError(f"batch.storage: should be like {example} (found {context.storage!r})")
    return place


def input_place(storage: Place, tag: str) -> Place:
    """Return where the requests of a job are."""
    return storage.below(tag, "input.jsonl")


def output_place(storage: Place, tag: str) -> Place:
    """Return the prefix of the results of a job."""
    return storage.below(tag, "output")
