"""A provider is a row of data: the URL of its API, the dialect that the API speaks, and how requests are authorised."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from typing import cast
from urllib.parse import urlsplit

from asyncinfer.dialects.base import Dialect
from asyncinfer.dialects.batch import BatchDialect
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.errors import ConfigError
from asyncinfer.providers.auth import Auth, Key, environment_variable
from asyncinfer.providers.base_url import ApiPaths
from asyncinfer.types.masking import masked_if_secret

_PLACEHOLDER = re.compile(r"{(\w+)}")
_LEADING_PLACEHOLDER = re.compile(r"^{\w+}")
# What surrounds values in some files of environment variables. Ollama 0.6 removes the same.
_AROUND_VALUES = " \t\r\n\"'"


@dataclass(frozen=True, slots=True)
class Provider:
    """An API: where it is, which dialect it speaks, and how requests are authorised.

    Args:
        name: The name of the engine in configurations.
        url: The URL for chats; None if each user has another one. Names in braces are environment variables.
        auth: How requests are authorised.
        dialect: The wire format.
        listing: The URL of the list of models. By default, the dialect derives it from the URL for chats.
        workers: How many requests may be in flight if the user does not set `remote_params.num_workers`.
        model_prefixes: Name prefixes of models that only this provider offers under these names. `asyncinfer ask`
            guesses the engine from them.
        non_chat_prefixes: Name prefixes of models that cannot chat.
        chat_types: The values of `type` that chat models have in the list of models, if the list has that field.
        variable_aliases: For an environment variable in `url`, the variables that are read if it is not set.
        variable_defaults: The values of environment variables in `url` that are not set.
        url_transform: Changes a URL after its variables are replaced.
        completed_url: Changes the final URL for chats, including a URL that the user has set. May raise ConfigError.
        replaced_paths: Ends of URLs for other functions of the same server, which the path for chats replaces.
        class_name: The name of the engine class. By default, it is made from `name`: `MyApiInferenceEngine` for
            `MY_API`.
        extra: The extra that installs the packages that the provider needs, as in `pip install 'asyncinfer[bedrock]'`.
        requires: The module that is importable if the extra is installed.
        responses_models: Matches the beginning of the names of models that only the Responses API has.
        other_path: The path for chats of the server's other API, if `dialect.responses` is None. The path of `dialect`
            replaces it in URLs.
        start_hint: For a server that users run themselves: how to start it, as a sentence for the error if nothing
            listens at the URL.
        batch: The batch API; None if there is none.
        batch_auth: How requests to other services are authorised that the batch API needs, by `Exchange.service`.
        prices: The id of the provider in the package genai-prices. Empty: it is found by the URL, if it has one. None:
            its answers cost nothing.
    """

    name: str
    url: str | None = None
    auth: Auth = field(default_factory=Key)
    dialect: Dialect = field(default_factory=openai_chat)
    listing: str | None = None
    workers: int = 50
    model_prefixes: tuple[str, ...] = ()
    non_chat_prefixes: tuple[str, ...] = ()
    chat_types: frozenset[str] = frozenset()
    variable_aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    variable_defaults: Mapping[str, str] = field(default_factory=dict[str, str])
    url_transform: Callable[[str], str] = str
    completed_url: Callable[[str], str] = str
    replaced_paths: tuple[str, ...] = ()
    class_name: str = ""
    extra: str | None = None
    requires: str | None = None
    responses_models: re.Pattern[str] | None = None
    other_path: str = ""
    start_hint: str = ""
    batch: BatchDialect | None = None
    batch_auth: Mapping[str, Auth] = field(default_factory=dict[str, Auth])
    prices: str | None = ""

    def __post_init__(self) -> None:
        if not self.class_name:
            object.__setattr__(self, "class_name", self.name.title().replace("_", "") + "InferenceEngine")
        for name in ("url", "listing"):  # A repr must not show the credentials in a URL.
            url = getattr(self, name)
            object.__setattr__(self, name, None if url is None else masked_if_secret(url))

    def can_chat(self, entry: Mapping[str, object]) -> bool:
        """Return whether a model can chat, by its entry in the list of models. True if the entry does not say it.

        The fields that say it are `type`, `supports_chat` (Fireworks), `completion_chat` (Mistral) or
        `chat_completion` (Azure) under `capabilities`, and `output_modalities` under `architecture` (OpenRouter,
        Hugging Face, llama.cpp).
        """
        if str(entry["id"]).startswith(self.non_chat_prefixes) or not _has_chat_capability(entry):
            return False
        if entry.get("type") not in (None, *self.chat_types) or entry.get("supports_chat") is False:
            return False
        return "text" in _output_modalities(entry)

    def resolve_url(
        self, url: str | None, environ: Mapping[str, str] | None = None, given: Mapping[str, str] | None = None
    ) -> str | None:
        """Return `url` with its placeholders replaced by environment variables; None if one of them is not set.

        Args:
            environ: The environment variables; those of this process by default.
            given: Values that take precedence over the environment.

        Raises:
            ConfigError: The values do not make a URL.
        """
        if url is None:
            return None
        values = {name: (given or {}).get(name) or self._value(name, environ) for name in _PLACEHOLDER.findall(url)}
        if not all(values.values()):
            return None
        try:
            return masked_if_secret(self.url_transform(_PLACEHOLDER.sub(lambda match: values[match[1]], url)))
        except ValueError:
            problem = f"{' and '.join(values) or 'remote_params.api_url'}: no valid URL; check the host and the port"
        # The value may have credentials, which the message and the chained error must not show.
        raise ConfigError(problem)

    def paths(self) -> ApiPaths:
        """Return the paths of the API, as `url` has them."""
        chat = self.dialect.path
        own = urlsplit(_LEADING_PLACEHOLDER.sub("https://host", self.url or f"/v1{chat}")).path
        base = own.removesuffix(chat) if own.endswith(chat) and "{" not in own else ""
        responses = self.dialect.responses
        return ApiPaths(chat, base, self.replaced_paths, self.other_path if responses is None else responses.path)

    def with_responses(self) -> Provider | None:
        """Return this provider with its Responses API in place of chat completions; None if it has none."""
        chat, responses = self.dialect, self.dialect.responses
        if responses is None:
            return None
        url = self.url
        if url is not None:
            before, _, after = url.rpartition(chat.path)
            url = before + responses.path + after
        return replace(self, url=url, dialect=responses, other_path=chat.path)

    def url_hint(self) -> str:
        """Return what the user must set so that the URL is known, as the end of a message."""
        if self.url is None:
            return f"the URL of the API, such as http://localhost:8000/v1{self.dialect.path}"
        return "it, or the environment variables " + " and ".join(dict.fromkeys(_PLACEHOLDER.findall(self.url)))

    def _value(self, name: str, environ: Mapping[str, str] | None) -> str:
        aliases = self.variable_aliases.get(name, ())
        values = (environment_variable(environ, alias) for alias in (name, *aliases))
        plain = (value.strip(_AROUND_VALUES) for value in values)
        return next((value for value in plain if value), self.variable_defaults.get(name, ""))


def _has_chat_capability(entry: Mapping[str, object]) -> bool:
    capabilities = entry.get("capabilities")
    if not isinstance(capabilities, dict):  # LM Studio lists the names of capabilities. Chats are not among them.
        return True
    named = cast(Mapping[str, object], capabilities)
    return not any(named.get(name) is False for name in ("completion_chat", "chat_completion"))


def _output_modalities(entry: Mapping[str, object]) -> Container[object]:
    """The output modalities of a model; `text` if its entry does not list them."""
    architecture = entry.get("architecture")
    if not isinstance(architecture, dict):
        return ("text",)
    listed = cast(Mapping[str, object], architecture).get("output_modalities")
    return cast(list[object], listed) if isinstance(listed, list) else ("text",)
