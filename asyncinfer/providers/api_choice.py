"""Chooses between the two APIs of a server: chat completions, and OpenAI's Responses API."""

from __future__ import annotations

from urllib.parse import urlsplit

from asyncinfer.config import RemoteParams
from asyncinfer.errors import ConfigError
from asyncinfer.providers.provider import Provider

RESPONSES = "responses"


def provider_with_chosen_api(provider: Provider, remote: RemoteParams) -> Provider:
    """Return the provider with the API that `remote.api` names.

    Raises:
        ConfigError: The provider does not have this API.
    """
    if remote.api != RESPONSES or provider.dialect.path.endswith(RESPONSES):
        return provider
    if (found := provider.with_responses()) is None:
        raise ConfigError(
            f"remote_params.api: {provider.name} has no Responses API; remove this setting, or use an engine that has "
            "one, such as OPENAI or REMOTE"
        )
    return found


def remote_with_resolved_api(provider: Provider, remote: RemoteParams, model: str) -> RemoteParams:
    """Return the parameters with the API that a call uses: the user's choice, or what the URL or the model requires."""
    if remote.api is not None or provider.dialect.responses is None:
        return remote
    is_responses = _path(remote.api_url).endswith(provider.dialect.responses.path) or (
        _is_responses_model(provider, model) and not _names_chat(provider, remote.api_url)
    )
    return remote.model_copy(update={"api": RESPONSES}) if is_responses else remote


def _is_responses_model(provider: Provider, model: str) -> bool:
    """Whether only the Responses API has a model. The name of a fine-tuned model contains the name of its base."""
    pattern = provider.responses_models
    return pattern is not None and pattern.match(model.removeprefix("ft:")) is not None


def _names_chat(provider: Provider, url: str | None) -> bool:
    """Whether the user has set a URL, and it ends with the path of chat completions."""
    return _path(url).endswith(provider.dialect.path) and url != provider.resolve_url(provider.url)


def _path(url: str | None) -> str:
    """Return the path of a URL; an empty text for an invalid URL, which the engine reports."""
    try:
        return urlsplit(url or "").path.rstrip("/")
    except ValueError:
        return ""
