"""The batch API of a remote engine, with the settings of one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from asyncinfer.batch.api import BatchApi
from asyncinfer.batch.client import BatchClient
from asyncinfer.config import BatchParams, RemoteParams
from asyncinfer.dialects.batch_steps import API, BatchContext
from asyncinfer.dialects.packaging import read_answer
from asyncinfer.engines.redaction import error_without_secrets, response_without_secrets, secrets_of
from asyncinfer.engines.refusal import refusal
from asyncinfer.engines.request_plan import RequestPlan, response_limits
from asyncinfer.errors import ConfigError, InputError, RequestError, invalid_request
from asyncinfer.providers.auth import Signer, environment_variable
from asyncinfer.providers.provider import Provider
from asyncinfer.transport.base import Transport
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.files import with_files
from asyncinfer.types.http import HttpRequest, HttpResponse
from asyncinfer.types.masking import without_credentials


class BatchTarget(NamedTuple):
    """The provider, the URL and the settings of batch jobs.

    Args:
        provider: With the API that the settings choose.
        name: The name of the engine.
        url: The URL for chats.
    """

    provider: Provider
    name: str
    url: str
    model: str
    remote: RemoteParams
    params: BatchParams


class PlanCodec:
    """Makes requests and reads answers as single requests do."""

    def __init__(self, plan: RequestPlan) -> None:
        self._plan, self._secrets = plan, plan.secrets()

    def encode(self, conversation: Conversation) -> HttpRequest:
        if all(isinstance(message.content, str | None) for message in conversation.messages):
            return self._plan.encode(conversation)
        try:
            return self._plan.encode(with_files(conversation))
        except InputError as error:
            raise invalid_request(str(error)) from None

    def decode(self, response: HttpResponse) -> Completion:
        if not response.is_success:
            raise refusal(response_without_secrets(response, self._secrets), self._plan.target[0], None)
        try:
            return read_answer(self._plan.dialect, response)
        except RequestError as error:
            raise error_without_secrets(self._secrets, error) from None


def batch_api(
    target: BatchTarget,
    transport: Transport,
    sign: Signer,
    plan: Callable[[], RequestPlan],
    environ: Mapping[str, str] | None = None,
) -> BatchApi:
    """Return the batch API of a provider.

    Args:
        plan: Makes the plan of the requests of rows. Raises ConfigError.
        environ: The environment variables; those of this process by default.

    Raises:
        ConfigError: The provider has no batch API.
    """
    provider, remote = target.provider, target.remote
    dialect = provider.batch
    if dialect is None:
        raise ConfigError(
            f"{target.name} has no batch API that this version supports. Use `infer` or `run` without `batch`, which "
            "send one request for each row"
        )

    def secrets() -> tuple[str, ...]:
        return secrets_of(target.url, sign)

    signers: dict[str, Callable[[], Signer]] = {API: lambda: sign}
    for service, auth in provider.batch_auth.items():
        signers[service] = partial(auth.signer, target.name, remote, environ)
    values = {name: environment_variable(environ, name).strip() for name in dialect.variables}
    client = BatchClient(
        transport,
        _context(target, {name: value for name, value in values.items() if value}),
        signers,
        lambda error: error_without_secrets(secrets(), error),
        lambda response: response_without_secrets(response, secrets()),
    )
    window = remote.batch_completion_window or "24h"
    where = f"{without_credentials(target.url)} {target.model}"
    return BatchApi(dialect, client, lambda: PlanCodec(plan()), window, target.name, where)


def _context(target: BatchTarget, variables: Mapping[str, str]) -> BatchContext:
    parts = urlsplit(target.url)
    path = parts.path.rstrip("/").removesuffix(target.provider.dialect.path)
    return BatchContext(
        chat_url=target.url,
        base_url=urlunsplit(parts._replace(path=path, query="", fragment="")),
        query=parts.query,
        model=target.model,
        headers=target.provider.dialect.headers,
        timeout=target.remote.connection_timeout,
        limits=response_limits(target.remote),
        storage=target.params.storage,
        role=target.params.role,
        variables=variables,
    )
