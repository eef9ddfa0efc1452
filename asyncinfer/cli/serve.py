"""The command that serves an engine with OpenAI's API."""

from __future__ import annotations

import os
from collections.abc import Iterable

from pydantic import SecretStr

from asyncinfer.cli.interrupts import interruptible
from asyncinfer.cli.messages import say
from asyncinfer.config import InferenceConfig
from asyncinfer.engines.registry import build_engine
from asyncinfer.errors import ConfigError
from asyncinfer.run.stop import Stop
from asyncinfer.serve import ServerSettings, serve


async def run_server(config: InferenceConfig, settings: ServerSettings, host: str, port: int, insecure: bool) -> int:
    """Serve the engine of a configuration until a signal stops the server, and return the exit code."""
    stop = Stop()

    def show(url: str) -> None:
        name = ", ".join(settings.model_names) or config.model.model_name
        say(f"Serving {name} at {url}/v1 (Ctrl-C stops)", url=url)

    async with build_engine(config) as engine, interruptible(stop, "answers", stopped=""):
        await serve(engine, settings, host=host, port=port, insecure=insecure, stop=stop, on_listening=show)
    return 0


def keys_in_variables(names: Iterable[str]) -> tuple[SecretStr, ...]:
    """Return the keys in environment variables.

    Raises:
        ConfigError: A variable is not set, or holds no key.
    """
    keys: list[SecretStr] = []
    for name in names:
        found = _keys_in(os.environ.get(name, ""))
        if not found:
            raise ConfigError(f"--api-key-env: the environment variable {name} is not set, or is empty")
        keys += found
    return tuple(keys)


def _keys_in(value: str) -> list[SecretStr]:
    """Return the keys in the value of an environment variable, which are separated by commas or white space."""
    return [SecretStr(key) for key in value.replace(",", " ").split()]
