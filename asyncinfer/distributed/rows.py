"""The rows that wait for an answer of a replica."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from asyncinfer.distributed.wire import RowEvent, RowRequest
from asyncinfer.run.bound_engine import CallSettings
from asyncinfer.types.conversation import Conversation

# A row that was in progress at this many deaths of replicas is probably their cause, and fails.
MOST_DEATHS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """The settings of calls, under a number that replaces them in further messages.

    Args:
        endpoint: The number of the endpoint to send to, for an engine with several.
    """

    number: int
    settings: CallSettings
    endpoint: int = 0


@dataclass(slots=True, eq=False)
class PendingRow:
    """One row without a complete answer.

    Attributes:
        prefix: A number that rows with the same prompt prefix have in common.
        deliver: Gets the events of the row.
        deaths: How many replicas have died while they worked on the row.
        has_begun: A part of the answer was delivered, so that the row cannot begin again.
    """

    number: int
    call: Call
    conversation: Conversation
    is_stream: bool
    prefix: int
    deliver: Callable[[RowEvent], None]
    deaths: int = 0
    has_begun: bool = False

    @property
    def is_suspect(self) -> bool:
        """Whether the row may be the reason why replicas die. A replica gets only one such row at a time."""
        return self.deaths == MOST_DEATHS - 1

    def request(self) -> RowRequest:
        conversation = self.conversation
        if conversation.parsed is not None:
            # Its class may not be importable in the replica.
            conversation = conversation.with_parsed(None)
        return RowRequest(self.number, self.call.number, conversation, self.is_stream, self.call.endpoint)
