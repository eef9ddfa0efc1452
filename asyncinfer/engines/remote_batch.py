"""The batch API of a remote engine, with the settings of one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from asyncinfer.batch.api import BatchApi
from asyncinfer.batch.client import BatchClient
from asyncinfer.config import BatchParams
from asyncinfer.dialects.batch_steps import API, BatchContext
from asyncinfer.dialects.packaging import read_answer, usage_in
from asyncinfer.engines.redaction import error_without_secrets, response_without_secrets
from asyncinfer.engines.refusal import refusal
from asyncinfer.engines.remote_api import RemoteApi
from asyncinfer.engines.request_plan import RequestPlan, response_limits
from asyncinfer.errors import ConfigError, InputError, RequestError, invalid_request
from asyncinfer.providers.auth import Signer, environment_variable
from asyncinfer.transport.base import Transport
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.files import with_files
from asyncinfer.types.http import HttpRequest, HttpResponse
from asyncinfer.types.masking import without_credentials


class BatchTarget(NamedTuple):
    """The API, the model and the settings of batch jobs.

    Args:
        name: The name of the engine.
    """

    api: RemoteApi
    name: str
    model: str
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
            error = refusal(response_without_secrets(response, self._secrets), self._plan.target[0], None)
            error.usage = usage_in(self._plan.dialect, response.body)
            raise error
        try:
            return read_answer(self._plan.dialect, response)
        except RequestError as error:
            raise error_without_secrets(self._secrets, error) from None


def batch_api(
    target: BatchTarget,
    transport: Transport,
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
    api, dialect = target.api, target.api.provider.batch
    if dialect is None:
        raise ConfigError(
            f"{target.name} has no batch API that this version supports. Use `infer` or `run` without `batch`, which "
            "send one request for each row"
        )

    signers: dict[str, Callable[[], Signer]] = {API: lambda: api.sign}
    for service, auth in api.provider.batch_auth.items():
        signers[service] = partial(auth.signer, target.name, api.remote, environ)
    values = {name: environment_variable(environ, name).strip() for name in dialect.variables}
    client = BatchClient(
        transport,
        _context(target, {name: value for name, value in values.items() if value}),
        signers,
        lambda error: error_without_secrets(api.secrets(), error),
        lambda response: response_without_secrets(response, api.secrets()),
    )
    window = api.remote.batch_completion_window or "24h"
    where = f"{without_credentials(api.url)} {target.model}"
    return BatchApi(dialect, client, lambda: PlanCodec(plan()), window, target.name, where)


def _context(target: BatchTarget, variables: Mapping[str, str]) -> BatchContext:
    api, dialect = target.api, target.api.provider.dialect
    parts = urlsplit(api.url)
    path = parts.path.rstrip("/").removesuffix(dialect.path)
    return BatchContext(
        chat_url=api.url,
        base_url=urlunsplit(parts._replace(path=path, query="", fragment="")),
        query=parts.query,
        model=target.model,
        headers=dialect.headers,
        timeout=api.remote.connection_timeout,
        limits=response_limits(api.remote),
        storage=target.params.storage,
        role=target.params.role,
        variables=variables,
    )
