"""The file of saved events: the record of a run as JSON. Its size does not grow with the number of rows."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from asyncinfer.errors import InputError
from asyncinfer.report.record import EarlierRun, RunRecord
from asyncinfer.scratch.atomic import replacing
from asyncinfer.types.paths import PATH_ERRORS, os_error_text

_SUFFIX = ".events.json"
_MOST_EARLIER = 20


def events_path(output: Path) -> Path:
    """The file with the events of a run that writes `output`."""
    return output.with_name(output.name + _SUFFIX)


def save_record(record: RunRecord, path: Path) -> None:
    """Replace the file. Blocks.

    Raises:
        OSError: It cannot be written.
    """
    text = record.model_dump_json(exclude_defaults=True).encode() + b"\n"
    with replacing(path, durable=False) as file:
        file.write(text)


def load_record(path: Path) -> RunRecord:
    """Read the events of a run. Blocks.

    Args:
        path: The file of the events, or the output of the run.

    Raises:
        InputError: There are no saved events at this path.
    """
    try:
        if not path.name.endswith(_SUFFIX) and (events_path(path).exists() or not path.exists()):
            path = events_path(path)
        return RunRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist. Only a run with save_events: true (--save-events) writes it"
        ) from None
    except ValidationError:
        raise InputError(
            f"{path} holds no saved events. Give the output of a run that had save_events: true (--save-events), or "
            f"its file {_SUFFIX}"
        ) from None
    except PATH_ERRORS as error:
        raise InputError(f"{path} cannot be read: {os_error_text(error)}") from None


def earlier_runs(path: Path) -> list[EarlierRun]:
    """The runs of the same job before this one, if the last of them did not finish. Blocks."""
    try:
        last = load_record(path)
    except InputError:
        return []
    if last.state == "finished" and not last.counts.failed:
        return []
    run = EarlierRun(
        began_at=last.began_at,
        seconds=last.seconds,
        state=last.state,
        completed=last.counts.completed,
        failed=last.counts.failed,
    )
    return [*last.earlier, run][-_MOST_EARLIER:]
