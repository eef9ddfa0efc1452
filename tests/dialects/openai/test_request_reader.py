"""Reading the settings of requests in OpenAI's format."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.config import GenerationParams, ModelParams
from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.dialects.openai.quirks import Patterns, Quirks
from asyncinfer.dialects.openai.request_reader import RequestFieldError, generation_of
from asyncinfer.types.conversation import Conversation

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def test_only_parameters_in_the_request_are_set() -> None:
    read = generation_of({"model": "m", "temperature": 0.5, "top_p": None, "unknown": 1})
    assert read.model_fields_set == {"temperature"}
    assert read.temperature == 0.5


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_token_limit_has_two_names(field: str) -> None:
    assert generation_of({field: 7}).max_new_tokens == 7


def test_newer_name_of_the_token_limit_wins() -> None:
    assert generation_of({"max_completion_tokens": 7, "max_tokens": 9}).max_new_tokens == 7


@pytest.mark.parametrize("stop", ["end", ["end"]])
def test_stop_is_a_text_or_a_list(stop: object) -> None:
    assert generation_of({"stop": stop}).stop_strings == ["end"]


def test_json_schema_becomes_guided_decoding() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
    guided = generation_of({"response_format": form}).guided_decoding
    assert guided is not None
    assert (guided.json, guided.strict) == (SCHEMA, True)


@pytest.mark.parametrize(("form", "schema"), [({}, {"type": "object"}), ({"schema": SCHEMA}, SCHEMA)])
def test_json_object_requires_an_object(form: dict[str, Any], schema: object) -> None:
    guided = generation_of({"response_format": {"type": "json_object", **form}}).guided_decoding
    assert guided is not None
    assert guided.json == schema


def test_text_format_switches_guided_decoding_off() -> None:
    read = generation_of({"response_format": {"type": "text"}})
    assert (read.guided_decoding, read.model_fields_set) == (None, {"guided_decoding"})


@pytest.mark.parametrize("guide", [{"regex": "a+"}, {"choice": ["a", "b"]}, {"json": SCHEMA}])
def test_structured_outputs_of_vllm_are_read(guide: dict[str, Any]) -> None:
    guided = generation_of({"structured_outputs": guide}).guided_decoding
    assert guided is not None
    assert guided.model_dump(exclude_unset=True) == guide


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": "x", "max_tokens": 5}, "max_completion_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"stop": 3}, "stop"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs"),
        ({"logit_bias": {"1": 1000}}, "logit_bias"),
        ({"top_logprobs": 21}, "top_logprobs"),
    ],
)
def test_error_names_the_field_of_the_request(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(RequestFieldError, match=f"^{named}: ") as raised:
        generation_of(fields)
    assert raised.value.field == named


GIVEN = st.fixed_dictionaries(
    {},
    optional={
        "max_new_tokens": st.integers(1, 10**6),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0.1, 0.9),
        "frequency_penalty": st.floats(0.1, 2),
        "seed": st.integers(0, 2**31),
        "stop_strings": st.lists(st.text(min_size=1), min_size=1),
        "logit_bias": st.dictionaries(st.integers(0, 10**6), st.floats(-100, 100), min_size=1),
        "guided_decoding": st.sampled_from([{"json": SCHEMA}, {"regex": "a+"}, {"choice": ["a"]}]),
    },
)


@given(GIVEN)
def test_settings_that_a_request_carries_are_read_back(settings: dict[str, Any]) -> None:
    written = GenerationParams.model_validate(settings)
    dialect = openai_chat(Quirks(patterns=Patterns.VLLM))
    encode = dialect.encoder_for(EncoderSettings("http://localhost", ModelParams(model_name="m"), written))
    conversation = Conversation.from_dict({"messages": [{"role": "user", "content": "Hi."}]})
    read = generation_of(json.loads(encode(conversation).body))
    for name in settings:
        assert getattr(read, name) == getattr(written, name)
