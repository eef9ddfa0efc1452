"""What an engine supports, as far as it is known before a request."""

from __future__ import annotations

from functools import cache

from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.engines.local.engine import LocalInferenceEngine
from asyncinfer.engines.remote import RemoteInferenceEngine
from asyncinfer.providers.features import features

_LOCAL = frozenset({"images", "image URLs"})


@cache
def engine_features(engine: type[BaseInferenceEngine]) -> frozenset[str]:
    """Return the features that the engines of a class support, by their names in `asyncinfer.providers.features`.

    A model may support less: a model in this process may have no vision, and no tools in its chat template.
    """
    if issubclass(engine, RemoteInferenceEngine):
        return frozenset(features(engine.provider()))
    supported = engine.get_supported_params()
    found = {"tools"} if "tool_choice" in supported else set[str]()
    found |= {"JSON schema"} if "guided_decoding" in supported else set[str]()
    return frozenset(found | _LOCAL) if issubclass(engine, LocalInferenceEngine) else frozenset(found)
