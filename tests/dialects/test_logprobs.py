"""Log probabilities: the settings that request them, and reading them in whole and streamed answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer import GenerationParams, ModelParams, StreamDelta
from asyncinfer.dialects.base import Dialect, EncoderSettings
from asyncinfer.dialects.google.gemini import GEMINI
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.dialects.openai.quirks import Quirks
from asyncinfer.types.answer import Completion
from asyncinfer.types.http import HttpResponse
from asyncinfer.types.logprobs import token_logprob
from tests.dialects.google.test_request import answer as of_gemini
from tests.dialects.mangled import mangled
from tests.fakes import question

Json = dict[str, Any]
CHAT = openai_chat()


def entry(token: str, logprob: float, **tops: float) -> Json:
    top = [{"token": name, "logprob": value, "bytes": [*name.encode()]} for name, value in tops.items()]
    return {"token": token, "logprob": logprob, "bytes": [*token.encode()], "top_logprobs": top}


HI, THERE = entry("Hi", -0.25, Hi=-0.25, Hey=-1.5), entry(" é", -2.0)
OPENAI: Json = {"content": [HI, THERE], "refusal": None}
SIDE_BY_SIDE: Json = {
    "tokens": ["Hi", " é"],
    "token_logprobs": [-0.25, -2.0],
    "token_ids": [1, 2],
    "top_logprobs": [{"Hi": -0.25, "Hey": -1.5}, {}],
}


def choice(**fields: Any) -> Json:
    return {"choices": [{"index": 0, "finish_reason": "stop", **fields}]}


def whole(dialect: Dialect, body: Json) -> Completion:
    return dialect.decode(HttpResponse(200, {}, json.dumps(body).encode()))


def streamed(dialect: Dialect, *events: Json) -> list[StreamDelta]:
    decoder = dialect.stream()
    data = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    return [*decoder.feed(data.encode()), decoder.finish()]


def logprobs_of(completion: Completion) -> Any:
    return (completion.metadata or {}).get("logprobs")


@pytest.mark.parametrize("given", [OPENAI, {"content": None, "refusal": [HI, THERE]}, SIDE_BY_SIDE])
def test_log_probabilities_of_a_whole_answer_are_in_its_metadata(given: Json) -> None:
    assert logprobs_of(whole(CHAT, choice(message={"content": "Hi é"}, logprobs=given))) == [HI, THERE]


def test_log_probabilities_of_a_stream_come_with_their_tokens() -> None:
    events = [
        choice(delta={"content": "Hi"}, logprobs={"content": [HI]}, finish_reason=None),
        choice(delta={"content": " é"}, logprobs={"content": [THERE]}, finish_reason=None),
        choice(delta={}, logprobs=None),
    ]
    deltas = streamed(CHAT, *events)
    assert [(delta.content, delta.logprobs) for delta in deltas] == [("Hi", (HI,)), (" é", (THERE,)), ("", ())]
    assert logprobs_of(Completion.from_deltas(deltas)) == [HI, THERE]


def test_stream_of_together_has_a_number_for_each_token() -> None:
    first = choice(delta={"content": "Hi", "token_id": 1}, logprobs=-0.25, top_logprobs={"Hi": -0.25, "Hey": -1.5})
    deltas = streamed(CHAT, first, choice(delta={"content": " é"}, logprobs=-2))
    assert logprobs_of(Completion.from_deltas(deltas)) == [HI, THERE]


def test_whole_message_in_a_stream_repeats_no_log_probabilities() -> None:
    message = choice(message={"content": "Hi é"}, logprobs=OPENAI)
    piece = choice(delta={"content": "Hi"}, logprobs={"content": [HI]}, finish_reason=None)
    assert logprobs_of(Completion.from_deltas(streamed(CHAT, piece, message))) == [HI, THERE]


def test_log_probabilities_of_gemini_are_in_openai_s_format() -> None:
    candidates = [
        {"candidates": [{"token": "Hi", "logProbability": -0.25}, {"token": "Hey", "logProbability": -1.5}]},
        {},
    ]
    chosen = [{"token": "Hi", "tokenId": 1, "logProbability": -0.25}, {"token": " é", "logProbability": -2.0}]
    body = of_gemini({"text": "Hi é"})
    body["candidates"][0]["logprobsResult"] = {"chosenCandidates": chosen, "topCandidates": candidates}
    assert logprobs_of(whole(GEMINI, body)) == [HI, THERE]
    assert logprobs_of(Completion.from_deltas(streamed(GEMINI, body))) == [HI, THERE]


def test_token_with_a_part_of_a_character_has_no_bytes() -> None:
    assert token_logprob("\ufffd", -1.0)["bytes"] is None


@pytest.mark.parametrize("number", [float("-inf"), float("nan"), -(10**400)])
def test_number_that_json_cannot_hold_is_very_unlikely(number: float) -> None:
    assert token_logprob("a", number)["logprob"] == -9999.0


@given(mangled(st.sampled_from([OPENAI, SIDE_BY_SIDE])))
def test_odd_log_probabilities_do_not_cost_the_answer(odd: Any) -> None:
    assert whole(CHAT, choice(message={"content": "Hi"}, logprobs=odd)).message.content == "Hi"
    assert streamed(CHAT, choice(delta={"content": "Hi"}, logprobs=odd))[0].content == "Hi"


def sent(quirks: Quirks, model: str = "m", **generation: Any) -> Json:
    """The fields for log probabilities in a request."""
    settings = EncoderSettings("https://x.example", ModelParams(model_name=model), GenerationParams(**generation))
    body = json.loads(openai_chat(quirks).encoder_for(settings)(question("Hello?")).body or b"")
    return {name: body[name] for name in ("logprobs", "top_logprobs") if name in body}


@pytest.mark.parametrize(
    ("quirks", "generation", "fields"),
    [
        (Quirks(), {}, {}),
        (Quirks(), {"logprobs": True}, {"logprobs": True}),
        (Quirks(), {"top_logprobs": 0}, {"logprobs": True, "top_logprobs": 0}),
        (Quirks(), {"top_logprobs": 5}, {"logprobs": True, "top_logprobs": 5}),
        (Quirks(counts_logprobs=True), {"logprobs": True}, {"logprobs": 1}),
        (Quirks(counts_logprobs=True), {"top_logprobs": 5}, {"logprobs": 5}),
        (Quirks(unsupported=frozenset({"logprobs", "top_logprobs"})), {"top_logprobs": 5}, {}),
    ],
)
def test_number_of_likely_tokens_implies_log_probabilities(quirks: Quirks, generation: Json, fields: Json) -> None:
    assert sent(quirks, **generation) == fields


def test_reasoning_models_get_no_request_for_log_probabilities_unless_reasoning_is_off() -> None:
    quirks = Quirks(reasoning_models=("gpt-5",))
    assert sent(quirks, "gpt-5.5", logprobs=True) == {}
    assert sent(quirks, "gpt-5.5", logprobs=True, extra_body={"reasoning_effort": "none"}) == {"logprobs": True}
