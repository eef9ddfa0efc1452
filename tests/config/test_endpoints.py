"""`remote_params.endpoints`: the URL of each endpoint, or a mapping of its settings."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from pydantic import ValidationError

from asyncinfer import ConfigError, EndpointParams, InferenceConfig, RemoteParams

A, B = "http://a:8000/v1", "http://b:8000/v1"
BOTH = [EndpointParams(api_url=A), EndpointParams(api_url=B)]


def endpoints_in(text: str, *overrides: str) -> list[EndpointParams]:
    remote = InferenceConfig.from_str(text, overrides).remote_params
    assert remote is not None
    return remote.endpoints


@pytest.mark.parametrize(
    "text",
    [
        f"remote_params: {{endpoints: [{A}, {B}]}}",
        f"remote_params:\n  endpoints:\n  - {A}\n  - {B}\n",
        f"remote_params: {{endpoints: [{A}, {{api_url: '{B}'}}]}}",
        json.dumps({"remote_params": {"endpoints": [A, B]}}),
    ],
    ids=["flow", "block", "both forms", "JSON"],
)
def test_url_in_a_file_stands_for_an_endpoint(text: str, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(text)
    assert endpoints_in(text) == BOTH
    assert InferenceConfig.from_yaml(tmp_path / "job.yaml") == InferenceConfig.from_str(text)


def test_url_in_python_stands_for_an_endpoint() -> None:
    assert RemoteParams(endpoints=[A, B]).endpoints == BOTH
    assert RemoteParams(endpoints=[A, EndpointParams(api_url=B)]).endpoints == BOTH
    assert RemoteParams(endpoints=[A, {"api_url": B}]).endpoints == BOTH
    changed = RemoteParams()
    changed.endpoints = [A, B]
    assert changed.endpoints == BOTH


@pytest.mark.parametrize(
    "overrides",
    [
        [f"remote_params.endpoints=[{A}, {B}]"],
        [f"remote_params.endpoints=[{A},{B}]"],
        [f'remote_params.endpoints=["{A}", {{"api_url": "{B}"}}]'],
        [
            "remote_params.endpoints=[http://x/v1, http://y/v1]",
            f"remote_params.endpoints.0={A}",
            f"remote_params.endpoints[1]={B}",
        ],
    ],
    ids=["list", "without spaces", "both forms", "elements"],
)
def test_url_in_an_override_stands_for_an_endpoint(overrides: list[str]) -> None:
    assert endpoints_in("{}", *overrides) == BOTH


def test_override_changes_a_setting_of_an_endpoint_in_the_short_form() -> None:
    changed = endpoints_in(f"remote_params: {{endpoints: [{A}, {B}]}}", "remote_params.endpoints.1.weight=2")
    assert changed == [EndpointParams(api_url=A), EndpointParams(api_url=B, weight=2)]


def test_variable_within_a_url_is_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_A", "a")
    assert endpoints_in("remote_params: {endpoints: ['http://${HOST_A}:8000/v1']}") == BOTH[:1]


def test_value_that_is_neither_a_url_nor_a_mapping_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"remote_params\.endpoints\.1: should be a mapping of settings"):
        endpoints_in(f"remote_params: {{endpoints: [{A}, 5]}}")


def test_credentials_in_a_url_are_not_shown() -> None:
    secret = "http://user:hunter2@a:8000/v1"
    config = InferenceConfig.from_str(f"remote_params: {{endpoints: ['{secret}', {B}]}}")
    written = StringIO()
    config.to_yaml(written)
    with pytest.raises(ConfigError) as wrong:
        endpoints_in(f"remote_params: {{endpoints: ['{secret}'], num_workers: 0}}")
    with pytest.raises(ValidationError) as assigned:
        RemoteParams().endpoints = [secret, 5]  # pyright: ignore[reportAttributeAccessIssue]
    for shown in (repr(config), written.getvalue(), config.model_dump_json(), str(wrong.value), str(assigned.value)):
        assert "hunter2" not in shown


def test_masked_url_of_a_saved_configuration_is_an_error_that_names_its_place() -> None:
    written = StringIO()
    InferenceConfig.from_str("remote_params: {endpoints: ['http://user:hunter2@a:8000/v1']}").to_yaml(written)
    with pytest.raises(ConfigError, match=r"remote_params\.endpoints.*is masked, as in a saved configuration"):
        InferenceConfig.from_str(written.getvalue())
