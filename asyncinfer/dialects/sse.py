"""Server-sent events, as the HTML standard defines them (section 9.2.6, "Interpreting an event stream")."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from asyncinfer.dialects.json_size import has_too_many_values
from asyncinfer.dialects.stream_end import StreamEnd
from asyncinfer.dialects.stream_parts import is_part
from asyncinfer.errors import RequestError
from asyncinfer.types.http import malformed_response
from asyncinfer.types.results import StreamDelta

# The data of the event that ends an OpenAI stream. Proxies send it after streams of other dialects too.
DONE = "[DONE]"
# No API sends larger events (bytes).
_MAX_EVENT = 32 * 2**20
_LINE_END = re.compile(r"\r\n|\n|\r")


class ServerSentEvent(NamedTuple):
    """One event. `name` is `message` if the stream gives no name."""

    data: str
    name: str = "message"


def unreadable(event: ServerSentEvent, problem: Exception) -> RequestError:
    """Return the error for an event that the dialect cannot read."""
    why = f" ({problem})" if isinstance(problem, ValueError) else ""
    return malformed_response(f"has an event that cannot be read{why}: {event.data[:200]}")


class SSEParser:
    """Parses bytes, split at any place, into events. An event without a blank line after it is ignored."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._begun: list[str] = []  # the parts of an incomplete line
        self._data: list[str] = []
        self._begun_size = self._data_size = 0
        self._name = ""
        self._after_return = False

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Return the events that `chunk` completes.

        Raises:
            RequestError: An event is larger than 32 MiB.
        """
        text = self._decoder.decode(chunk)
        if self._after_return and text:
            text = text.removeprefix("\n")  # the second half of a line end
            self._after_return = False
        if text:
            self._after_return = text.endswith("\r")
        first, *others = _LINE_END.split(text)
        self._begun.append(first)
        if not others:
            self._begun_size += len(first)
            self._check_size()
            return []
        lines = ["".join(self._begun), *others[:-1]]
        self._begun, self._begun_size = [others[-1]], len(others[-1])
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: str) -> ServerSentEvent | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
            self._data_size += len(value)
            self._check_size()
        elif field == "event":
            self._name = value
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        event = ServerSentEvent("\n".join(self._data), self._name or "message") if self._data else None
        self._data, self._data_size, self._name = [], 0, ""
        if event is not None and has_too_many_values(event.data):
            raise malformed_response("has an event with more values than any answer has")
        return event

    def _check_size(self) -> None:
        if self._begun_size + self._data_size > _MAX_EVENT:
            raise malformed_response(f"has an event of more than {_MAX_EVENT >> 20} MiB")


class EventDecoder(Protocol):
    """Turns the events of one answer into deltas. Each dialect has its own; see `base.StreamDecoder`."""

    @property
    def done(self) -> bool: ...

    @property
    def end(self) -> StreamEnd: ...

    def feed(self, event: ServerSentEvent) -> Iterator[StreamDelta]: ...

    def finish(self) -> StreamDelta: ...


class SSEStreamDecoder:
    """The `StreamDecoder` of a dialect that streams server-sent events.

    Args:
        decoder: Turns the events into deltas.
    """

    def __init__(self, decoder: EventDecoder) -> None:
        self._parser, self._decoder = SSEParser(), decoder
        self.parts = 0

    @property
    def done(self) -> bool:
        return self._decoder.done

    @property
    def end(self) -> StreamEnd:
        return self._decoder.end

    def feed(self, chunk: bytes) -> Iterator[StreamDelta]:
        for event in self._parser.feed(chunk):
            if self._decoder.done:  # Events after the end of the answer are ignored.
                return
            if not event.data.strip() and event.name != "error":
                continue
            brings_part = False
            for delta in self._decoder.feed(event):
                brings_part = True
                yield delta
            if brings_part or is_part(event.data):
                self.parts += 1

    def finish(self) -> StreamDelta:
        return self._decoder.finish()
