"""Batch jobs of Azure OpenAI.

A resource has one list of jobs and files, even if the URL for chats is that of a deployment. All lines of a file name
the same deployment as their model.

Sources, November 2026: Microsoft's "Getting started with Azure OpenAI batch deployments" (August 2026), with its limits
and error codes; openai 3.57 (`lib/azure.py`), for the URLs.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from pydantic_core import from_json, to_json

from asyncinfer.dialects.batch import BatchLimits
from asyncinfer.dialects.batch_steps import BatchContext
from asyncinfer.dialects.openai.batches.quirks import CHAT, RESPONSES, BatchQuirks
from asyncinfer.types.http import HttpRequest

_DEPLOYMENT = re.compile(r"/deployments/([^/]+)$")


def azure_root(context: BatchContext) -> str:
    """Return the URL of the resource's API, without a deployment."""
    return _DEPLOYMENT.sub("", context.base_url)


def with_deployment(context: BatchContext, request: HttpRequest) -> HttpRequest:
    """Return the request with the deployment in the URL as its model."""
    deployment = _DEPLOYMENT.search(context.base_url)
    if deployment is None:
        return request
    return request._replace(body=to_json({**from_json(request.body), "model": unquote(deployment[1])}))


AZURE = BatchQuirks(
    "AZURE_OPENAI",
    limits=BatchLimits(rows=100_000, bytes=200 * 10**6),
    paths=frozenset({CHAT, RESPONSES}),
    versioned=False,
    root=azure_root,
    request=with_deployment,
    docs="https://learn.microsoft.com/azure/foundry/openai/how-to/batch",
)
