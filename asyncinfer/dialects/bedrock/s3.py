"""Requests to Amazon S3.

Sources: the API reference ("PutObject", "ListObjectsV2", "GetObject", "Error responses"), November 2026. A request
creates an object only when it is complete; an object that is created by one request has at most 5 GB.
"""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import quote, unquote_plus

from pydantic_core import to_json

from asyncinfer.dialects.batch import JobFile
from asyncinfer.dialects.batch_fields import query_of
from asyncinfer.dialects.batch_steps import S3, BatchContext, Exchange, Steps, Upload
from asyncinfer.dialects.bedrock.hosts import bucket_url
from asyncinfer.dialects.http import status_error
from asyncinfer.dialects.storage import StoragePath
from asyncinfer.errors import InferenceErrorType, RequestError
from asyncinfer.types.http import HttpRequest, HttpResponse

_MOST_PAGES = 1000


def upload(context: BatchContext, path: StoragePath, job_file: JobFile) -> Steps[None]:
    """Create or replace an object.

    Raises:
        RequestError: The object could not be created.
    """
    request = _request(context, "PUT", path, _object_path(path))
    headers = {**request.headers, "Content-Type": "application/jsonl"}
    _check((yield Upload(request._replace(headers=headers), job_file.path, service=S3)), path)


def objects_below(context: BatchContext, prefix: StoragePath) -> Steps[list[StoragePath]]:
    """Return the objects whose keys begin with a prefix and a slash.

    Raises:
        RequestError: They could not be listed.
    """
    keys, token = list[str](), None
    fields = {"list-type": 2, "prefix": f"{prefix.key}/", "encoding-type": "url"}
    for _ in range(_MOST_PAGES):
        query = query_of(**fields, **{"continuation-token": token})
        response = yield Exchange(_request(context, "GET", prefix, f"?{query}"), S3)
        _check(response, prefix)
        text = response.body.decode("utf-8", "replace")
        keys += [unquote_plus(key) for key in _values(text, "Key")]
        token = next(iter(_values(text, "NextContinuationToken")), None)
        if token is None:
            break
    return [prefix._replace(key=key) for key in keys]


def content(context: BatchContext, path: StoragePath) -> Exchange:
    """Return the request for the content of an object."""
    return Exchange(_request(context, "GET", path, _object_path(path)), S3)


def _request(context: BatchContext, method: str, path: StoragePath, rest: str) -> HttpRequest:
    base = bucket_url(path.bucket, context.chat_url, context.variables)
    return context.request(method, f"{base}{'/' if rest.startswith('?') else ''}{rest}")


def _object_path(path: StoragePath) -> str:
    return f"/{quote(path.key, safe='/~')}"


def _check(response: HttpResponse, path: StoragePath) -> None:
    """Raise the error of S3, without the parts of it that repeat the key id and the signature of the request."""
    if response.is_success:
        return
    text = response.body[:65536].decode("utf-8", "replace")
    code, message = (next(iter(_values(text, name)), "") for name in ("Code", "Message"))
    if 300 <= response.status < 400 or code in ("PermanentRedirect", "AuthorizationHeaderMalformed"):
        raise RequestError(
            f"the bucket {path.bucket} is in another region than the one of Bedrock; use a bucket in that region",
            error_type=InferenceErrorType.CONFIG,
            status_code=response.status,
        )
    about = {"message": f"S3, {path.uri}: {message or code or 'no message'}", "code": code}
    raise status_error(response._replace(body=to_json({"error": about})))


def _values(xml: str, name: str) -> list[str]:
    """Return the texts of the elements with this name."""
    return [unescape(text) for text in re.findall(f"<{name}>([^<]*)</{name}>", xml)]
