"""Every field of a parameter class declares whether it is part of a row's key."""

from __future__ import annotations

import pytest

from asyncinfer import GenerationParams, GuidedDecodingParams, ModelParams, RemoteParams
from asyncinfer.config.base import Params
from asyncinfer.config.row_key import Hashed, KeyRole, Unhashed, hashed_fields, key_role

CLASSES: list[type[Params]] = [ModelParams, GenerationParams, GuidedDecodingParams, RemoteParams]


@pytest.mark.parametrize(
    ("params", "name"), [(params, name) for params in CLASSES for name in params.model_fields], ids=str
)
def test_every_field_declares_whether_it_is_hashed(params: type[Params], name: str) -> None:
    assert isinstance(key_role(params, name), KeyRole)


def test_field_that_declares_nothing_is_an_error() -> None:
    class Forgotten(Params):
        a: Hashed[int] = 0
        b: int = 0

    with pytest.raises(TypeError, match=r"Forgotten\.b should be declared either as Hashed"):
        hashed_fields(Forgotten)


def test_field_that_declares_both_is_an_error() -> None:
    class Both(Params):
        a: Hashed[Unhashed[int]] = 0

    with pytest.raises(TypeError, match=r"Both\.a should be declared"):
        hashed_fields(Both)


def test_only_the_url_and_the_api_of_an_endpoint_are_hashed() -> None:
    assert hashed_fields(RemoteParams) == ("api", "api_url")
    assert RemoteParams(api="responses").hashed_values() == {"api": "responses"}
    assert RemoteParams().hashed_values() == {}


def test_values_of_unhashed_fields_and_defaults_are_left_out() -> None:
    params = GenerationParams(temperature=0.5, max_new_tokens=1024, batch_size=3, guided_decoding=None)
    assert params.hashed_values() == {"temperature": 0.5}


def test_nested_group_contributes_its_hashed_values() -> None:
    params = GenerationParams(guided_decoding=GuidedDecodingParams(choice=["a"]))
    assert params.hashed_values() == {"guided_decoding": {"choice": ["a"], "json": None}}


def test_url_is_hashed_without_credentials() -> None:
    remote = RemoteParams(api_url="https://ann:sekret@h/v1?key=sekret#x", api_key="sekret")  # pyright: ignore[reportArgumentType]
    assert remote.hashed_values() == {"api_url": "https://h/v1"}


def test_time_of_a_batch_job_is_not_hashed() -> None:
    assert RemoteParams(batch_completion_window="1h").hashed_values() == {}


def test_tokens_for_the_hub_are_not_hashed() -> None:
    kwargs = {"token": "sekret", "hf_token": "sekret", "use_auth_token": "sekret", "n_ctx": 8}
    params = ModelParams(model_kwargs=kwargs, tokenizer_kwargs=kwargs, processor_kwargs=kwargs)
    assert "sekret" not in str(params.hashed_values())
    assert params.model_kwargs == kwargs
