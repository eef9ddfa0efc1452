"""The endpoints of a remote engine: the parameters of each, and its part in the group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from asyncinfer.config import ModelParams, RemoteParams
from asyncinfer.config.endpoint import EndpointParams
from asyncinfer.control.member import EndpointRole
from asyncinfer.engines.request_plan import RequestPlan
from asyncinfer.errors import ConfigError, MissingDependencyError
from asyncinfer.types.masking import without_credentials


def remote_at(remote: RemoteParams, endpoint: EndpointParams) -> RemoteParams:
    """Return the parameters for requests to one endpoint.

    The key of an endpoint replaces that of all endpoints. Its headers are added to those of all endpoints.
    """
    changed: dict[str, object] = {"api_url": endpoint.api_url, "endpoints": []}
    if endpoint.api_key is not None or endpoint.api_key_env_varname is not None:
        changed |= {"api_key": endpoint.api_key, "api_key_env_varname": endpoint.api_key_env_varname}
    if endpoint.headers:
        added = {name.lower() for name in endpoint.headers}
        kept = {name: value for name, value in remote.headers.items() if name.lower() not in added}
        changed["headers"] = kept | endpoint.headers
    return remote.model_copy(update=changed)


def model_at(model: ModelParams, endpoint: EndpointParams) -> ModelParams:
    """Return the model parameters for requests to one endpoint."""
    return model if endpoint.model_name is None else model.model_copy(update={"model_name": endpoint.model_name})


def plans_of_all(makers: Sequence[Callable[[], RequestPlan]]) -> Iterator[RequestPlan]:
    """Yield the plan for requests to each endpoint.

    Raises:
        ConfigError: A plan cannot be made. The message names the endpoint.
    """
    for number, make in enumerate(makers):
        try:
            yield make()
        except MissingDependencyError:
            raise
        except ConfigError as error:
            raise ConfigError(_at_number(number, str(error))) from None


def _at_number(number: int, message: str) -> str:
    """Return the message of one endpoint with the path of its setting."""
    path, colon, rest = message.removeprefix("remote_params.").partition(":")
    place = f"remote_params.endpoints.{number}"
    is_of_endpoint = colon and path in EndpointParams.model_fields
    return f"{place}.{path}:{rest}" if is_of_endpoint else f"{place}: {message}"


def roles_of(remotes: Sequence[RemoteParams], endpoints: Sequence[EndpointParams]) -> list[EndpointRole]:
    """Return the part of each endpoint in the group. `remotes`: the parameters of each."""
    urls = [without_credentials(remote.api_url or "") for remote in remotes]
    counts = Counter(urls)
    names = [f"{url} (endpoints.{i})" if counts[url] > 1 else url for i, url in enumerate(urls)]
    return [
        EndpointRole(name, endpoint.weight, endpoint.fallback) for name, endpoint in zip(names, endpoints, strict=True)
    ]
