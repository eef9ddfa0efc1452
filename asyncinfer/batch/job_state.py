"""What is saved about each job of a run, so that a killed run finds its jobs again.

A folder beside the scratch file of the run has, for each job:

- `TAG.json`: its state. It is written before each attempt to submit the job, and again with the id of the job.
- `TAG.ids`: the ids of its rows, in records of 24 bytes.
- `TAG.jsonl`: its requests, until it is submitted.

While the run works, the folder also has `rows`: the rows that wait for their answers (`spill`).

All functions block. The caller must hold the lock of the scratch file.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from struct import Struct
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from asyncinfer.batch.custom_ids import RowId
from asyncinfer.errors import ScratchError
from asyncinfer.scratch import disk
from asyncinfer.scratch.atomic import discard_temporary, replacing

RECORD = Struct(">16sQ")  # The key of a row, and its number among the rows with this key.
SPILL = "rows"
_STATE, _IDS, _REQUESTS, _TEMPORARY = ".json", ".ids", ".jsonl", ".tmp"


def new_tag() -> str:
    """Return the tag of a new job: random, and valid in names of files and in the metadata of every provider."""
    return f"asyncinfer-{secrets.token_hex(12)}"


@dataclass(slots=True)
class JobState:
    """The saved state of a job.

    Attributes:
        tag: The tag by which the provider's job can be found again.
        number: Jobs of one folder are numbered in the order in which they were made.
        attempt: In how many jobs the rows were before.
        rows: The number of rows.
        size: The bytes of the file of requests.
        window: The completion window.
        target: What the requests go to.
        created: When the job was made (Unix time).
        tried: When the last attempt to submit it began (Unix time); 0 before the first one.
        batch_id: The provider's id; None until the job is known to be submitted.
        is_cancelled: This run cancelled the job because it was stopped.
        stored: The ids of the files that the provider has stored for the job, in all attempts to submit it.
    """

    tag: str
    number: int
    attempt: int
    rows: int
    size: int
    window: str
    target: str
    created: float
    tried: float = 0.0
    batch_id: str | None = None
    is_cancelled: bool = False
    stored: list[str] = field(default_factory=list[str])


def batch_folder(scratch: Path) -> Path:
    """Return the folder of the jobs of the run with this scratch file."""
    return scratch.with_name(f"{scratch.name}.batch")


class JobFolder:
    """The saved jobs of one run.

    Raises:
        ScratchError: Every method raises it if the folder cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> list[JobState]:
        """Return the saved jobs in the order of their numbers. Removes what a killed run left and no job needs."""
        with as_scratch_error(self.path):
            if not self.path.is_dir():
                return []
            jobs = [_read(path) for path in sorted(self.path.glob(f"*{_STATE}"))]
            known = {job.tag for job in jobs}
            for path in sorted(self.path.iterdir()):
                if path.suffix == _TEMPORARY or (path.suffix in (_IDS, _REQUESTS) and path.stem not in known):
                    disk.remove(path)
            return sorted(jobs, key=lambda job: job.number)

    def batch_ids(self) -> frozenset[str]:
        """Return the ids of the jobs that are known to be submitted."""
        with as_scratch_error(self.path):
            jobs = [_read(path) for path in sorted(self.path.glob(f"*{_STATE}"))]
        return frozenset(job.batch_id for job in jobs if job.batch_id is not None)

    def make(self) -> None:
        """Create the folder."""
        with as_scratch_error(self.path):
            disk.make_folder(self.path, private=True)
            disk.sync_folder(self.path.parent)

    def write(self, job: JobState) -> None:
        """Save the state of a job. It is durable when this returns."""
        with as_scratch_error(self.path), replacing(self._state(job)) as file:
            file.write(to_json(asdict(job)) + b"\n")

    def ids(self, job: JobState) -> Sequence[RowId]:
        """Return the ids of a job's rows."""
        with as_scratch_error(self.path):
            records = self.ids_path(job).read_bytes()
        if len(records) != job.rows * RECORD.size:
            raise _damaged(self.ids_path(job), f"it should have {job.rows:,} rows", self._state(job))
        return [(key, n) for key, n in RECORD.iter_unpack(records)]

    def remove_requests(self, job: JobState) -> None:
        """Remove the file of requests, after the job was submitted."""
        with as_scratch_error(self.path):
            disk.remove(self.requests_path(job))

    def remove(self, job: JobState) -> None:
        """Remove the files of a job. The state is removed first: the next run removes files that belong to no state."""
        with as_scratch_error(self.path):
            discard_temporary(self._state(job))
            disk.remove(self._state(job))
            disk.remove(self.requests_path(job))
            disk.remove(self.ids_path(job))

    def close(self) -> None:
        """Remove what belongs to no saved job, and the folder if it is empty then."""
        with as_scratch_error(self.path):
            self.load()
            if self.path.is_dir():
                disk.remove(self.path / SPILL)
                disk.remove_folder(self.path)

    def delete(self) -> None:
        """Remove the folder with all it has."""
        with as_scratch_error(self.path):
            for path in [*self.path.iterdir()]:
                disk.remove(path)
            disk.remove_folder(self.path)

    def requests_path(self, job: JobState) -> Path:
        """Return the path of the file of requests."""
        return self.path / f"{job.tag}{_REQUESTS}"

    def ids_path(self, job: JobState) -> Path:
        """Return the path of the file with the ids of the rows."""
        return self.path / f"{job.tag}{_IDS}"

    def _state(self, job: JobState) -> Path:
        return self.path / f"{job.tag}{_STATE}"


def _read(path: Path) -> JobState:
    try:
        text = path.read_bytes()
        fields: dict[str, Any] = from_json(text)
        JobState(**fields)  # Raises TypeError for an unknown field, which a later version may have written.
        job = TypeAdapter(JobState).validate_json(text, strict=True)
    except ValidationError as error:
        raise _damaged(path, error.errors()[0]["msg"], path) from None
    except (ValueError, TypeError) as error:
        raise _damaged(path, str(error), path) from None
    if job.tag != path.stem:
        raise _damaged(path, f"it is that of {job.tag}", path)
    return job


def _damaged(path: Path, why: str, state: Path) -> ScratchError:
    which = "the file" if path == state else str(state)
    return ScratchError(
        f"{path} is not the state of a batch job ({why}). If you know that its job is done, delete {which}; "
        "otherwise its rows would be sent, and paid, a second time."
    )


@contextmanager
def as_scratch_error(path: Path) -> Generator[None]:
    """Raise ScratchError in place of errors of the operating system, such as a full disk.

    Args:
        path: The folder of the jobs.
    """
    try:
        yield
    except OSError as error:
        raise ScratchError(
            f"the state of batch jobs in {path} cannot be read or written: {error.strerror or error}. Jobs that were "
            "sent go on at the provider. Correct the cause, and run the same command again to resume."
        ) from error


def ids_or_tags(jobs: Sequence[JobState]) -> Iterator[str]:
    """Yield the ids of jobs, for messages; the tag of a job that has no id."""
    for job in jobs:
        yield job.batch_id or job.tag
