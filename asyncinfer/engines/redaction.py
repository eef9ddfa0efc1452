"""Removes secrets from what a server returns, before it becomes part of a message."""

from __future__ import annotations

from asyncinfer.errors import RequestError
from asyncinfer.providers.auth import Signer
from asyncinfer.types.http import HttpResponse
from asyncinfer.types.masking import MaskedStr, secrets_in_url, without_traceback

# The shortest key that is removed from messages. Removing shorter ones would make messages unreadable.
_SHORTEST_SECRET = 4
# Keys that users set for servers that need no key. They are words that any message may contain.
_PLACEHOLDERS = frozenset(
    [
        *("empty", "none", "null", "dummy", "test", "fake", "token", "unused", "nokey", "no-key", "api-key", "api_key"),
        *("apikey", "ollama", "vllm", "sglang", "local", "localhost", "lm-studio", "openai", "anything", "placeholder"),
        *("not-needed", "not-used", "no-key-required", "sk-no-key-required", "string", "true", "false", "user"),
    ]
)


def secrets_of(url: str, sign: Signer) -> tuple[str, ...]:
    """Return the secrets that no message may contain: keys, and credentials in a URL."""
    found = (*sign.secrets, *secrets_in_url(url))
    # The longest first, because one may be the beginning of another.
    return tuple(MaskedStr(secret) for secret in sorted(found, key=len, reverse=True) if _is_hidden(secret))


def _is_hidden(secret: str) -> bool:
    return len(secret) >= _SHORTEST_SECRET and secret.lower() not in _PLACEHOLDERS


def error_without_secrets(secrets: tuple[str, ...], error: RequestError) -> RequestError:
    """Return the error without secrets in its message, and without frames whose variables may contain secrets."""
    for secret in secrets:
        error.args = (str(error).replace(secret, "[API key]"),)
    return without_traceback(error)


def response_without_secrets(response: HttpResponse, secrets: tuple[str, ...]) -> HttpResponse:
    """Return the response without secrets. This must happen before its text is shortened for a message."""
    body = response.body
    for secret in secrets:
        body = body.replace(secret.encode(errors="surrogatepass"), b"[API key]")
    return response._replace(body=body)
