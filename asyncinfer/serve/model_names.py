"""The names of the models that a server answers for."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import NamedTuple

from asyncinfer.serve.api_errors import ApiError

# Some APIs have the name of the model in the path of the URL.
_VALID = re.compile(r"(?!.*\.\.)[\w@][\w.:/@+-]{0,255}")


class ServedModel(NamedTuple):
    """The model that answers a request.

    Args:
        response_name: Its name in the response.
        requested: The name that a remote engine is asked for. None: the engine's own.
    """

    response_name: str
    requested: str | None = None


class ModelNames:
    """Finds the model for the name in a request.

    Args:
        own: The name of the engine's model.
        aliases: Its names for clients, in place of `own`. The first one is in the responses.
        accepts_any: Whether other names are accepted.
        is_remote: Whether the engine can answer with other models.
    """

    def __init__(self, own: str, aliases: tuple[str, ...], *, accepts_any: bool, is_remote: bool) -> None:
        self.names = aliases or (own,)
        self._accepts_any, self._is_remote = accepts_any, is_remote

    def find(self, name: str | None) -> ServedModel:
        """Return the model for the name in a request. None: the request names no model.

        Raises:
            ApiError: There is no such model.
        """
        if name is None or name in self.names:
            return ServedModel(name or self.names[0])
        if not self._accepts_any:
            known = ", ".join(self.names)
            raise _not_found(f"The model {name[:100]!r} does not exist. This server has: {known}.")
        if not self._is_remote:
            return ServedModel(self.names[0])
        if not _VALID.fullmatch(name):
            raise _not_found(f"The model {name[:100]!r} does not exist.")
        return ServedModel(name, name)


def _not_found(message: str) -> ApiError:
    return ApiError(HTTPStatus.NOT_FOUND, message, param="model", code="model_not_found")
