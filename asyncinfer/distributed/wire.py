"""What a client and a replica exchange, as bytes: pickles that both sides of the same program write."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import NamedTuple

from asyncinfer.errors import AsyncInferError, EngineDeadError, RequestError, error_name_and_text
from asyncinfer.run.bound_engine import ObservedLimits
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.stream import StreamDelta

# Errors of these classes keep their class. Others become a RuntimeError, because the other process may not have them.
_OWN_ERRORS = (EngineDeadError, RequestError, AsyncInferError)


class RowRequest(NamedTuple):
    """A row to answer.

    Args:
        call: The number of its settings.
        endpoint: The number of the endpoint to send to.
    """

    number: int
    call: int
    conversation: Conversation
    is_stream: bool
    endpoint: int = 0


class Answer(NamedTuple):
    """A whole answer, and the parameters that the model has turned out not to support."""

    completion: Completion
    dropped: frozenset[str]


class StreamEnd(NamedTuple):
    """The stream of a row is complete."""


# What happens to a row. The last three are its last event.
RowEvent = StreamDelta | ObservedLimits | Answer | StreamEnd | Exception


class Opened(NamedTuple):
    """A new session, or the reason why the engine cannot be built.

    Args:
        token: Identifies the session. A restarted replica does not know it.
        problem: Why there is no session; None if there is one.
    """

    token: str
    problem: str | None = None


def is_last(event: RowEvent) -> bool:
    """Whether no other event of the row follows."""
    return not isinstance(event, StreamDelta | ObservedLimits)


def encode_rows(rows: Sequence[RowRequest]) -> bytes:
    return pickle.dumps(rows, protocol=pickle.HIGHEST_PROTOCOL)


def decode_rows(data: bytes) -> Sequence[RowRequest]:
    return pickle.loads(data)


def encode_events(events: Sequence[tuple[int, RowEvent]]) -> bytes:
    """Encode events. One that cannot be pickled becomes an error of its row."""
    try:
        return pickle.dumps(events, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:  # `__reduce__` of any class may raise anything.
        return pickle.dumps([(number, _picklable(event)) for number, event in events])


def decode_events(data: bytes) -> Sequence[tuple[int, RowEvent]]:
    return pickle.loads(data)


def portable(error: Exception) -> Exception:
    """The error as the other process can read it."""
    copy = _copy_of(error)
    return copy if copy is not None and _can_be_read(copy) else _as_text(error)


def _copy_of(error: Exception) -> Exception | None:
    """The error without its traceback; None if the other process may not have its class."""
    if type(error).__module__ == "builtins":
        return error.with_traceback(None)
    for kind in type(error).__mro__:
        if kind.__module__ == AsyncInferError.__module__ and issubclass(kind, _OWN_ERRORS):
            copy = kind.__new__(kind, *error.args)
            copy.__dict__.update(error.__dict__)
            return copy
    return None


def _as_text(error: Exception) -> Exception:
    return RuntimeError(error_name_and_text(error))


def _can_be_read(error: Exception) -> bool:
    """Whether the error can be pickled and unpickled. Its arguments may be objects of any class."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True


def _picklable(event: RowEvent) -> RowEvent:
    try:
        pickle.dumps(event)
    except Exception as error:
        return RuntimeError(f"the answer cannot be sent to another process: {error_name_and_text(error)}")
    return event
