"""`remote_params.headers`: which headers are accepted, and where their values are not shown."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from asyncinfer import ConfigError, InferenceConfig, RemoteParams
from asyncinfer.config.overrides import mask_arguments

SECRET = "c4nary-sekret"


def params(headers: Any) -> RemoteParams:
    return RemoteParams(headers=headers)


def values(remote: RemoteParams | None) -> dict[str, str]:
    assert remote is not None
    return {name: value.get_secret_value() for name, value in remote.headers.items()}


def test_headers_are_a_mapping_of_names_to_secret_values() -> None:
    remote = params({"X-Team": "search", "x-version": SecretStr("2")})
    assert remote.headers == {"X-Team": SecretStr("search"), "x-version": SecretStr("2")}
    assert params(remote.headers).headers == remote.headers


def test_there_are_no_headers_by_default() -> None:
    assert RemoteParams().headers == {}
    assert InferenceConfig.from_str("remote_params: {headers: }").remote_params == params({})


def test_numbers_are_taken_as_text() -> None:
    config = InferenceConfig.from_str("remote_params: {headers: {a: 3, b: 0.5, c: 2024-10-21}}")
    assert values(config.remote_params) == {"a": "3", "b": "0.5", "c": "2024-10-21"}


def test_environment_variables_are_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_TOKEN", SECRET)
    config = InferenceConfig.from_str("remote_params: {headers: {X-Gateway: 'Token ${GATEWAY_TOKEN}'}}")
    assert values(config.remote_params) == {"X-Gateway": f"Token {SECRET}"}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("remote_params.headers.X-Team=search", {"X-Old": "1", "X-Team": "search"}),
        ("remote_params.headers.X-Team=007", {"X-Old": "1", "X-Team": "007"}),
        ("remote_params.headers={X-Team: search}", {"X-Team": "search"}),
        ("remote_params.headers=null", {}),
    ],
)
def test_overrides_set_one_header_or_all(override: str, expected: dict[str, str]) -> None:
    config = InferenceConfig.from_str("remote_params: {headers: {X-Old: 1}}", [override])
    assert values(config.remote_params) == expected


@pytest.mark.parametrize("value", ["search\n", "  search", "search\r\n"])
def test_spaces_and_line_ends_around_a_value_are_removed(value: str) -> None:
    assert values(params({"X-Team": value})) == {"X-Team": "search"}


@pytest.mark.parametrize("name", ["", "X Team", "X-Team:", "X-Te\nam", "X-Téam", "X\0", '"X"', 3, None])
def test_name_that_is_not_valid_is_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match="headers: a header name may contain only letters, digits and"):
        params({name: "a"})


@pytest.mark.parametrize("value", ["a\nb", "a\r\nX-Other: b", "a\0b", "a\x7fb", "a\vb"])
def test_value_with_a_line_break_or_control_character_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="headers: the value of X-Team contains a line break or another control"):
        params({"X-Team": value})


def test_value_with_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ConfigError, match="the value of X-Team contains half of a surrogate pair"):
        params({"X-Team": "a\ud800"})


@pytest.mark.parametrize("value", ["", "a\tb", "a b", "ü€😀", "a: b; c=d"])
def test_other_text_is_accepted(value: str) -> None:
    assert values(params({"X-Team": value})) == {"X-Team": value}


@pytest.mark.parametrize("value", [None, True, ["a"], {"a": "b"}, b"a"])
def test_value_that_is_not_text_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"headers: the value of X-Team should be text \(found a \w+\)$"):
        params({"X-Team": value})


@pytest.mark.parametrize("name", ["Content-Length", "host", "Transfer-Encoding", "CONNECTION"])
def test_header_that_the_transport_sets_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"headers: the header {name} is set for each request and cannot be changed"):
        params({name: "1"})


def test_name_that_occurs_twice_in_another_case_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="headers: the header x-team occurs twice; the case of the letters makes no difference"
    ):
        params({"X-Team": "a", "x-team": "b"})


@pytest.mark.parametrize("headers", ["X-Team: a", ["X-Team"], 3])
def test_headers_that_are_not_a_mapping_are_refused(headers: Any) -> None:
    with pytest.raises(ConfigError, match=r"^RemoteParams: headers: should be a mapping of header names to values$"):
        params(headers)


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(ConfigError, match=r"the value of A should be text .*; the value of B contains a line break"):
        params({"A": None, "B": "a\nb"})


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Team": f"{SECRET}\n{SECRET}"},
        {f"Authorization: {SECRET}": None},
        {"X-Team": [SECRET]},
        f"Authorization: {SECRET}",
        [SECRET],
    ],
)
def test_messages_show_no_value(headers: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        params(headers)
    assert SECRET not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        InferenceConfig(remote_params={"headers": headers})  # pyright: ignore[reportArgumentType]
    assert SECRET not in str(caught.value)
    remote = RemoteParams()
    with pytest.raises(ValidationError) as assigned:
        remote.headers = headers
    assert SECRET not in str(assigned.value)


@pytest.mark.parametrize(
    "override",
    [
        f"remote_params.headers={{X-Team: '{SECRET}\\n{SECRET}'",
        f"remote_params.headers={{X-Team: *{SECRET}}}",
        f"remote_params.headers={SECRET}",
        f"remote_params.headers.X-Team.a={SECRET}",
    ],
)
def test_messages_about_an_override_show_no_value(override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        InferenceConfig.from_str("", [override])
    assert SECRET not in str(caught.value)


def test_reprs_and_dumps_show_no_value(tmp_path: Path) -> None:
    config = InferenceConfig(remote_params=params({"X-Team": SECRET, "Authorization": f"Bearer {SECRET}"}))
    config.to_yaml(tmp_path / "c.yaml")
    texts = [repr(config), str(config), repr(config.model_dump()), config.model_dump_json()]
    texts += [str(config.model_dump(mode="json")), (tmp_path / "c.yaml").read_text()]
    for text in texts:
        assert SECRET not in text
        assert "X-Team" in text


def test_saved_configuration_says_that_values_are_masked(tmp_path: Path) -> None:
    InferenceConfig(remote_params=params({"X-Team": SECRET})).to_yaml(tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match=r"remote_params\.headers\.X-Team: is masked, as in a saved configuration"):
        InferenceConfig.from_yaml(tmp_path / "c.yaml")
    again = InferenceConfig.from_yaml(tmp_path / "c.yaml", [f"remote_params.headers.X-Team={SECRET}"])
    assert values(again.remote_params) == {"X-Team": SECRET}


def test_copies_keep_the_values() -> None:
    remote = params({"X-Team": SECRET})
    for same in (pickle.loads(pickle.dumps(remote)), copy.deepcopy(remote), RemoteParams(**remote.model_dump())):
        assert same == remote
        assert values(same) == {"X-Team": SECRET}


def test_command_line_is_shown_without_values() -> None:
    args = [f"--remote_params.headers.X-Team={SECRET}", "--remote_params.headers.X-Other", SECRET]
    args.append(f"--remote_params.headers={{X-Team: {SECRET}}}")
    assert SECRET not in " ".join(mask_arguments(args))
