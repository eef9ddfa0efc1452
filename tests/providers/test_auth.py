"""Which key a request carries."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from asyncinfer import ConfigError, InferenceEngineType, RemoteParams
from asyncinfer.providers.auth import bearer
from asyncinfer.providers.catalog import CATALOG

OPENAI = CATALOG[InferenceEngineType.OPENAI]
ANY = CATALOG[InferenceEngineType.REMOTE]


def test_an_explicit_key_goes_before_all_others() -> None:
    remote = RemoteParams(api_key=SecretStr("sk-mine"), api_key_env_varname="OTHER")
    environ = {"OPENAI_API_KEY": "sk-env", "OTHER": "sk-other"}
    assert bearer(OPENAI, remote, environ) == {"Authorization": "Bearer sk-mine"}


def test_a_variable_of_the_user_s_goes_before_the_provider_s() -> None:
    environ = {"OPENAI_API_KEY": "sk-env", "OTHER": "sk-other"}
    assert bearer(OPENAI, RemoteParams(api_key_env_varname="OTHER"), environ) == {"Authorization": "Bearer sk-other"}
    assert bearer(OPENAI, RemoteParams(), environ) == {"Authorization": "Bearer sk-env"}


def test_a_server_that_needs_no_key_is_sent_none() -> None:
    assert bearer(ANY, RemoteParams(), {"OPENAI_API_KEY": "sk-env"}) == {}


@pytest.mark.parametrize("key", ["sk-1\n", "  sk-1", "sk-1\r\n"])
def test_a_key_that_was_read_from_a_file_may_end_its_line(key: str) -> None:
    """No header may hold a line end."""
    for remote in (RemoteParams(api_key=SecretStr(key)), RemoteParams()):
        assert bearer(OPENAI, remote, {"OPENAI_API_KEY": key}) == {"Authorization": "Bearer sk-1"}


@pytest.mark.parametrize("environ", [{}, {"OPENAI_API_KEY": ""}, {"OPENAI_API_KEY": " \n"}])
def test_a_missing_key_is_named_by_its_variable(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="OPENAI needs an API key; set the environment variable OPENAI_API_KEY"):
        bearer(OPENAI, RemoteParams(), environ)


def test_the_variable_that_the_user_named_must_be_set() -> None:
    with pytest.raises(ConfigError, match="REMOTE needs an API key; set the environment variable OTHER"):
        bearer(ANY, RemoteParams(api_key_env_varname="OTHER"), {"OPENAI_API_KEY": "sk-env"})
