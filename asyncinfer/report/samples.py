"""Samples of the answered rows of a run, shortened for a report."""

from __future__ import annotations

from asyncinfer.errors import ScratchError
from asyncinfer.report.record import Sample, SampleMessage
from asyncinfer.run.recording import RecordedRun
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.message import Message

_SAMPLES = 8
# The longest conversation (bytes) that is read, the most messages of a sample, and the characters of a message.
_LARGEST = 1 << 20
_MESSAGES = 12
_CHARACTERS = 2_000


def samples_of(run: RecordedRun) -> list[Sample]:
    """Return a few answered rows, spread over the whole input. Blocks.

    Returns:
        The samples in input order; none if the run saves no answers, or if they cannot be read.
    """
    if run.scratch is None:
        return []
    samples: list[Sample] = []
    try:
        for row in _spread(run.statuses):
            offset, length = run.statuses.span(row)
            if length <= _LARGEST:
                samples.append(_sample(run.stats.row_of(row), Conversation.from_json(run.scratch.read(offset, length))))
    except (ScratchError, ValueError):
        return samples
    return samples


def _spread(statuses: RowStatusTable) -> list[int]:
    """Some saved rows, spread over the input, in order."""
    places = (statuses.next_saved(len(statuses) * place // _SAMPLES) for place in range(_SAMPLES))
    return list(dict.fromkeys(row for row in places if row is not None))


def _sample(row: int, conversation: Conversation) -> Sample:
    messages = conversation.messages
    left_out = len(messages) - _MESSAGES
    shown = [_message(message) for message in (messages if left_out <= 0 else messages[-_MESSAGES:])]
    if left_out > 0:
        shown.insert(0, SampleMessage(role="", text=f"... {left_out} earlier messages"))
    reason = conversation.metadata.get("finish_reason")
    return Sample(row=row, finish_reason=reason if isinstance(reason, str) else None, messages=shown)


def _message(message: Message) -> SampleMessage:
    parts = [f"[reasoning] {message.reasoning_content}"] if message.reasoning_content else []
    for item in message.content_items:
        parts.append((item.content or "") if item.is_text() else f"[{item.type.value}]")
    parts += [f"[call] {call.function.name}({call.function.arguments})" for call in message.tool_calls or ()]
    return SampleMessage(role=message.role.value, text=_cut("\n".join(parts)))


def _cut(text: str) -> str:
    if len(text) <= _CHARACTERS:
        return text
    return f"{text[:_CHARACTERS]} ... ({len(text):,} characters in total)"
