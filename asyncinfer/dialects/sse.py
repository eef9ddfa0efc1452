"""Server-sent events, as the HTML standard defines them (section 9.2.6, "Interpreting an event stream")."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, cast

from asyncinfer.dialects.json_size import has_too_many_values
from asyncinfer.dialects.json_text import EventJson
from asyncinfer.dialects.stream_end import StreamEnd
from asyncinfer.dialects.stream_parts import is_part
from asyncinfer.errors import InferenceErrorType, RequestError
from asyncinfer.types.http import malformed_response
from asyncinfer.types.stream import StreamDelta, joined, with_first
from asyncinfer.types.usage import Usage

# The data of the event that ends an OpenAI stream. Proxies send it after streams of other dialects too.
DONE = "[DONE]"
_LONGEST_DONE = 64
# No API sends larger events (bytes).
_MAX_EVENT = 32 * 2**20
# Proxies that join streams leave byte order marks within them. Some servers indent the lines.
_BEFORE_FIELDS = ("\ufeff", " ", "\t")
_LINE_END = re.compile(r"\r\n|\n|\r")
# Proxies may frame an event again, so that JSON or the end mark follows further field names.
_FRAMES = re.compile(r"\A(?:data: ?)+(?=[{\[])")
_JSON_MARK = re.compile(r'[{}\[\]"]')


class ServerSentEvent(NamedTuple):
    """One event. `name` is `message` if the stream gives no name."""

    data: str
    name: str = "message"


def is_done(event: ServerSentEvent) -> bool:
    """Whether an event ends the stream. Some servers write the mark in lower case."""
    return len(event.data) <= _LONGEST_DONE and event.data.strip().upper() == DONE


def unreadable(event: ServerSentEvent, problem: Exception) -> RequestError:
    """Return the error for an event that the dialect cannot read."""
    why = f" ({problem})" if isinstance(problem, ValueError) else ""
    return malformed_response(f"has an event that cannot be read{why}: {event.data[:200]}")


def object_in(event: ServerSentEvent, json: EventJson, end: StreamEnd) -> dict[str, Any] | None:
    """Return the JSON object in an event; None for an event that is not part of an answer.

    Such events are words (`ping`), and JSON values that are neither objects nor lists. `end` records them.

    Raises:
        RequestError: The event may be a part of an answer, but cannot be read.
    """
    try:
        value = json.read(event.data)
    except ValueError as problem:
        error = unreadable(event, problem)
        if _JSON_MARK.search(event.data):
            raise error from None
        end.ignore(error)
        return None
    if isinstance(value, dict):
        return cast(dict[str, Any], value)
    if isinstance(value, list) and value:
        raise unreadable(event, TypeError())
    end.ignore(unreadable(event, TypeError()))
    return None


class SSEParser:
    """Parses bytes, split at any place, into events.

    Beyond the standard, a line that is a JSON object without a field name is an event. A `data:` line that begins a new
    JSON object after a whole one ends the previous event. An event without a blank line after it is returned by `rest`.
    """

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
            value = _FRAMES.sub("", value, count=1)
            ended = self._dispatch() if self._data and self._is_next_object(value) else None
            self._data.append(value)
            self._data_size += len(value)
            self._check_size()
            return ended
        if field == "event":
            self._name = value
        elif line.startswith(_BEFORE_FIELDS):
            return self._line(line.lstrip("\ufeff \t"))
        elif not self._data and _is_whole(line):
            return ServerSentEvent(line)
        return None

    def rest(self) -> list[ServerSentEvent]:
        """Return the event at the end of a stream without a blank line after it, if it is whole."""
        line, self._begun, self._begun_size = "".join(self._begun), [], 0
        ended = [self._line(line), self._dispatch()]
        return [event for event in ended if event is not None and (_is_whole(event.data) or is_done(event))]

    def _is_next_object(self, value: str) -> bool:
        """Whether a line of data begins another event. Some servers leave out the blank line between events."""
        return _is_whole(self._data[-1]) and value.startswith(("{", DONE, DONE.lower()))

    def _dispatch(self) -> ServerSentEvent | None:
        event = ServerSentEvent("\n".join(self._data), self._name or "message") if self._data else None
        self._data, self._data_size, self._name = [], 0, ""
        if event is not None and has_too_many_values(event.data):
            raise malformed_response("has an event with more values than any answer has")
        return event

    def _check_size(self) -> None:
        if self._begun_size + self._data_size > _MAX_EVENT:
            raise malformed_response(f"has an event of more than {_MAX_EVENT >> 20} MiB")


_BOM = codecs.BOM_UTF8
# How the first line of a stream begins, and how a whole answer or a page begins.
_STREAM_BEGINNINGS = (b":", b"data:", b"event:", b"id:", b"retry:")
_WHOLE_BEGINNINGS = (b"{", b"[", b"<")


def is_event_stream(beginning: bytes, *, declared: bool) -> bool | None:
    """Decide whether a body is a stream of events; see `base.IsStream`."""
    start = beginning.lstrip(_BOM + b" \t\r\n")[:8]
    if start.startswith(_STREAM_BEGINNINGS):
        return True
    if start.startswith(_WHOLE_BEGINNINGS):
        return False
    if any(one.startswith(start) for one in _STREAM_BEGINNINGS):
        return None
    return declared


def _is_whole(text: str) -> bool:
    """Whether a text may be a complete JSON object."""
    return text.startswith("{") and text.rstrip().endswith("}")


class EventDecoder(Protocol):
    """Turns the events of one answer into deltas. Each dialect has its own; see `base.StreamDecoder`."""

    @property
    def done(self) -> bool: ...

    @property
    def end(self) -> StreamEnd: ...

    @property
    def usage(self) -> Usage | None: ...

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

    @property
    def usage(self) -> Usage | None:
        return self._decoder.usage

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
        rest = list(self._rest())
        last = self._decoder.finish()
        return with_first(joined(rest), last) if rest else last

    def _rest(self) -> Iterator[StreamDelta]:
        """Yield the deltas of an event at the end of the stream, unless the event was cut off."""
        for event in () if self._decoder.done else self._parser.rest():
            try:
                yield from self._decoder.feed(event)
            except RequestError as error:
                if error.error_type is not InferenceErrorType.PARSE_ERROR:
                    raise
