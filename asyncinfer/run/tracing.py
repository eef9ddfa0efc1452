"""The interface of what traces calls, such as OpenTelemetry. Without it, a call does no additional work."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from asyncinfer.run.recording import RunRecorder
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.stream import StreamDelta


class ChatTrace(Protocol):
    """The trace of one call."""

    def answered(self, completion: Completion) -> None:
        """The call has this answer."""
        ...

    def delta(self, delta: StreamDelta) -> None:
        """The stream delivered a part of the answer."""
        ...


class CallTracing(Protocol):
    """Traces the calls with one configuration."""

    def chat(self, conversation: Conversation, *, is_stream: bool = False) -> AbstractContextManager[ChatTrace]:
        """A context for one call, with all its attempts. An exception that leaves it is recorded."""
        ...

    def run_recorder(self, name: str) -> RunRecorder:
        """What traces the rows of one run. `name`: identifies the run for a person."""
        ...
