"""The settings of a server."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import SecretStr

from asyncinfer.errors import ConfigError

# Variables of chat templates that a request may set with `chat_template_kwargs`. Others, such as `chat_template`, may
# replace the template or change the prompt in ways that the operator of the server does not expect.
TEMPLATE_VARIABLES = frozenset({"enable_thinking", "reasoning_effort", "thinking", "thinking_budget"})
_LEAST = {
    "max_body_bytes": 1,
    "max_choices": 1,
    "max_concurrency": 1,
    "max_images": 0,
    "max_queue": 0,
    "shutdown_grace": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """The settings of a server.

    Args:
        api_keys: The keys that clients may use. Without keys, every request is accepted.
        model_names: The names of the model for clients. The first one is in the answers. By default, the name in the
            engine's settings.
        any_model: Accept every name of a model. A remote engine then asks for that model; an engine in this process
            answers with its own.
        max_concurrency: The maximum number of answers in progress. By default, as many as the engine answers at once.
        max_queue: The maximum number of requests that wait for a slot. Further ones are refused with status 429.
        max_body_bytes: The maximum size of the body of a request.
        max_images: The maximum number of images and documents in one request.
        max_choices: The maximum value of `n`.
        allow_image_urls: Let requests name images and documents by http and https URLs of public addresses. Otherwise
            only data URLs are accepted.
        passed_fields: Fields of requests that this package does not know, and that are passed to the API of a remote
            engine. All other unknown fields are ignored.
        allowed_hosts: The host names that the `Host` header may have, besides IP addresses. None: any; but a server
            without keys on a local address then accepts only `localhost`. This protects it from web pages whose host
            name leads to a local address.
        write_timeout: How long a part of a response may wait for the client to read (seconds). Then the connection is
            closed, so that clients that stop reading hold no slots.
        shutdown_grace: How long running answers may go on after the server was asked to stop (seconds).
    """

    api_keys: tuple[SecretStr, ...] = ()
    model_names: tuple[str, ...] = ()
    any_model: bool = False
    max_concurrency: int | None = None
    max_queue: int = 256
    max_body_bytes: int = 32 * 2**20
    max_images: int = 16
    max_choices: int = 16
    allow_image_urls: bool = False
    passed_fields: frozenset[str] = frozenset()
    allowed_hosts: frozenset[str] | None = None
    write_timeout: float = 30.0
    shutdown_grace: float = 30.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: A value is out of its range, or a key is empty.
        """
        for name, least in _LEAST.items():
            value: float | None = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name}: should be at least {least} (found {value})")
        if self.write_timeout <= 0:
            raise ConfigError(f"write_timeout: should be greater than 0 (found {self.write_timeout})")
        if not all(key.get_secret_value() for key in self.api_keys):
            raise ConfigError("api_keys: a key is empty")
