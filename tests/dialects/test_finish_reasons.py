"""Finish reasons under all names, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asyncinfer import FinishReason
from asyncinfer.dialects.finish_reasons import finish_in
from asyncinfer.types.http import HttpResponse
from tests.dialects.test_stream_end import Wire, every_wire, read

OTHER_NAMES = {
    FinishReason.STOP: ["STOP", "Stop", " stop ", "eos_token", "EOS", "end-turn", "endTurn", "COMPLETE", "FINISHED"],
    FinishReason.LENGTH: ["MAX_TOKENS", "maxTokens", "max tokens", "model_length", "max_output_tokens", "token_limit"],
    FinishReason.TOOL_CALLS: ["TOOL_CALL", "toolUse", "tool-calls", "function_call"],
    FinishReason.CONTENT_FILTER: ["SAFETY", "PROHIBITED_CONTENT", "contentFiltered", "ERROR_TOXIC", "sensitive"],
    FinishReason.ERROR: ["MALFORMED_FUNCTION_CALL", "ERROR", "network_error", "TIMEOUT"],
}
PAIRS = [(name, reason) for reason, names in OTHER_NAMES.items() for name in names]


@every_wire
@pytest.mark.parametrize(("name", "reason"), PAIRS, ids=[name for name, _ in PAIRS])
def test_other_name_is_understood_and_kept(wire: Wire, name: str, reason: FinishReason) -> None:
    last = read(wire, wire.text, wire.reason(name), wire.mark)[-1]
    assert (last.finish_reason, last.metadata) == (reason, wire.described | {"raw_finish_reason": name})
    whole = wire.dialect.decode(HttpResponse(200, {}, json.dumps(wire.whole(name)).encode()))
    assert (whole.finish_reason, whole.metadata) == (reason, wire.described_whole | {"raw_finish_reason": name})


@every_wire
@pytest.mark.parametrize("reason", [one for one in FinishReason if one is not FinishReason.UNKNOWN])
def test_reason_under_its_own_name_is_not_kept_again(wire: Wire, reason: FinishReason) -> None:
    last = read(wire, wire.text, wire.reason(reason.value), wire.mark)[-1]
    assert (last.finish_reason, last.metadata or {}) == (reason, wire.described)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("FINISH_REASON_STOP", FinishReason.STOP), ("FinishReason.MAX_TOKENS", FinishReason.LENGTH)],
)
def test_name_of_an_enumeration_is_understood(name: str, reason: FinishReason) -> None:
    finish = finish_in(name)
    assert finish is not None
    assert (finish.reason, finish.text) == (reason, name)


@pytest.mark.parametrize("value", [None, False, "", " ", "None", "null", "FINISH_REASON_UNSPECIFIED", "not_finished"])
def test_name_for_no_reason_is_no_reason(value: Any) -> None:
    assert finish_in(value) is None
