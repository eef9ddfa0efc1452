"""The datasets of Fireworks, which it has in place of files.

The API does not report the size of a dataset. Its files have signed URLs. Sources: see `fireworks`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic_core import to_json

from asyncinfer.dialects.batch import FileQuery, FilesApi, JobFile
from asyncinfer.dialects.batch_fields import epoch_seconds, query_of, segment
from asyncinfer.dialects.batch_steps import UNSIGNED, BatchContext, Exchange, Steps
from asyncinfer.dialects.fields import object_at
from asyncinfer.dialects.http import json_object, status_error
from asyncinfer.dialects.openai.batches.fields import first_text, first_time, listed_in, required_id
from asyncinfer.dialects.openai.batches.files import cut, file_upload
from asyncinfer.errors import ConfigError
from asyncinfer.types.batch import FileInfo, FileListResponse
from asyncinfer.types.http import HttpRequest, malformed_response

ACCOUNT = "FIREWORKS_ACCOUNT_ID"
# The end of the URL for chats, beside which the API for jobs and datasets is.
_CHATS = re.compile(r"(?:/inference)?(?:/v1)?$")
_CONFLICT = 409
LARGEST_PAGE = 200
_PAGES = 1000


def account_request(
    context: BatchContext, method: str, path: str, body: bytes = b"", *, query: str = ""
) -> HttpRequest:
    """Return a request for a path below the account.

    Raises:
        ConfigError: The account is not known.
    """
    parts = urlsplit(context.base_url)
    root = urlunsplit(parts._replace(path=_CHATS.sub("", parts.path)))
    return context.request(method, f"{root}/v1/{account_of(context)}{path}", body, query=query)


def account_of(context: BatchContext) -> str:
    """Return the name of the account, such as `accounts/acme`.

    Raises:
        ConfigError: It is not known.
    """
    account = context.variables.get(ACCOUNT, "").strip().removeprefix("accounts/")
    if not account:
        raise ConfigError(
            f"batch jobs of FIREWORKS need the id of the account; set the environment variable {ACCOUNT} (`firectl "
            "whoami` shows it)"
        )
    return f"accounts/{quote(account, safe='')}"


def short_id(name: str) -> str:
    """Return the id at the end of the name of a resource, such as `accounts/a/datasets/d`."""
    return name.rpartition("/")[2]


def upload_dataset(context: BatchContext, file: JobFile, name: str) -> Steps[None]:
    """Upload a dataset, unless that has been done before."""
    body: dict[str, Any] = {"datasetId": name, "dataset": {"userUploaded": {}, "exampleCount": str(file.rows)}}
    response = yield Exchange(account_request(context, "POST", "/datasets", to_json(body)))
    if response.status == _CONFLICT:
        dataset = json_object((yield Exchange(account_request(context, "GET", _path(name)))))
        if dataset.get("state") == "READY":
            return
    elif not response.is_success:
        raise status_error(response)
    upload = file_upload(account_request(context, "POST", f"{_path(name)}:upload"), file, name, {})
    uploaded = yield upload._replace(stored=name)
    if not uploaded.is_success:
        raise status_error(uploaded)


def downloads(context: BatchContext, dataset: str) -> Steps[list[Exchange]]:
    """Return the requests for the files of a dataset, those with errors last."""
    response = yield Exchange(account_request(context, "GET", f"{_path(dataset)}:getDownloadEndpoint"))
    urls = object_at(json_object(response), "filenameToSignedUrls")
    names = sorted((name for name, url in urls.items() if isinstance(url, str)), key=lambda name: "error" in name)
    return [Exchange(context.request("GET", urls[name]), UNSIGNED) for name in names]


def _list(context: BatchContext, wanted: FileQuery) -> Steps[FileListResponse]:
    """Return one page of the datasets, which is cut from the whole list."""
    found: list[FileInfo] = []
    token: str | None = None
    for _ in range(_PAGES):
        query = query_of(pageToken=token, pageSize=LARGEST_PAGE)
        page = json_object((yield Exchange(account_request(context, "GET", "/datasets", query=query))))
        found += [_file(entry) for entry in listed_in(page, "datasets") if first_text(entry, "name")]
        before, token = token, first_text(page, "nextPageToken")
        if token in (None, before):
            break
    return cut(found, wanted)


def _get(context: BatchContext, dataset: str) -> Steps[FileInfo]:
    return _file(json_object((yield Exchange(account_request(context, "GET", _path(dataset))))))


def _delete(context: BatchContext, dataset: str) -> Steps[bool]:
    response = yield Exchange(account_request(context, "DELETE", _path(dataset)))
    if not response.is_success:
        raise status_error(response)
    return True


def _content(context: BatchContext, dataset: str) -> Steps[Exchange]:
    """Return the request for the first file of a dataset: the answers, if it has the results of a job."""
    files = yield from downloads(context, dataset)
    if not files:
        raise malformed_response("has no files of the dataset")
    return files[0]


def _file(data: Mapping[str, Any]) -> FileInfo:
    name = short_id(required_id(data, "name"))
    return FileInfo(
        id=name,
        filename=first_text(data, "displayName") or name,
        bytes=0,
        created_at=epoch_seconds(first_time(data, "createTime")),
        purpose="dataset",
    )


def _path(dataset: str) -> str:
    return f"/datasets/{segment(short_id(dataset))}"


DATASETS = FilesApi(_list, _get, _delete, _content)
