"""The configs of calls, which all adapters make from settings with OpenAI's names."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from asyncinfer import ConfigError
from asyncinfer.engines.call_setup import MOST_KEPT
from asyncinfer.integrations.call_configs import CallConfigs


def test_equal_settings_give_the_same_config() -> None:
    configs = CallConfigs()
    assert configs.find({"max_tokens": 5, "stop": ["a"]}) is configs.find({"stop": ["a"], "max_tokens": 5})


def test_only_the_given_settings_are_set() -> None:
    config = CallConfigs().find({"max_tokens": 5, "seed": None})
    assert config is not None
    assert config.generation.model_fields_set == {"max_new_tokens"}
    assert config.remote_params is None


def test_no_settings_need_no_config() -> None:
    assert CallConfigs().find({"stop": None}) is None


def test_settings_of_the_transport_go_to_the_remote_parameters() -> None:
    config = CallConfigs().find({"timeout": 3, "max_retries": 1, "headers": {"x-trace": "t"}})
    assert config is not None
    assert config.remote_params is not None
    assert (config.remote_params.connection_timeout, config.remote_params.max_retries) == (3, 1)
    assert config.remote_params.headers["x-trace"].get_secret_value() == "t"


def test_configs_of_different_keys_differ() -> None:
    configs = CallConfigs()
    first, second = (configs.find({"api_key": SecretStr(key)}) for key in ("a", "b"))
    assert first is not second


def test_configs_of_different_secret_headers_differ() -> None:
    configs = CallConfigs()
    first, second = (configs.find({"headers": {"x-key": SecretStr(key)}}) for key in ("a", "b"))
    assert first is not second


def test_temperature_lets_transformers_sample() -> None:
    config = CallConfigs().find({"temperature": 0.7})
    assert config is not None
    assert config.generation.use_sampling


def test_unknown_setting_is_an_error() -> None:
    with pytest.raises(ConfigError, match="colour: not a setting"):
        CallConfigs().find({"colour": "red"})


def test_oldest_config_is_forgotten() -> None:
    configs = CallConfigs()
    first = configs.find({"seed": 0})
    for seed in range(1, MOST_KEPT + 1):
        configs.find({"seed": seed})
    assert configs.find({"seed": 0}) is not first
