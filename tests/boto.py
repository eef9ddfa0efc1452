"""botocore, the judge of what goes to AWS and comes from it; and AWS's own rule for what a signature must be."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from contextlib import closing
from functools import cache
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import botocore.session  # pyright: ignore[reportMissingTypeStubs]
from anyio import to_thread
from botocore.awsrequest import AWSResponse  # pyright: ignore[reportMissingTypeStubs]
from botocore.config import Config  # pyright: ignore[reportMissingTypeStubs]

from tests.recorder import Recorder, Sent

KEY_ID, SECRET, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "a-session-token=="
REGION = "eu-west-3"


def base(api: Recorder) -> str:
    """The API's URL as AWS's are: without a path."""
    return api.url.removesuffix("/v1")


KEYS = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET, "aws_session_token": TOKEN}


async def asked(
    api: Recorder,
    operation: str,
    service: str = "bedrock-runtime",
    **arguments: Any,
) -> Any:
    """What botocore's client makes of the recorder's answer to this request, streams whole."""

    def ask() -> Any:
        config = Config(retries={"total_max_attempts": 1}, region_name=REGION)
        client = _session().create_client(service, endpoint_url=base(api), config=config, **KEYS)
        try:
            answer = getattr(client, operation)(**arguments)
            if "stream" not in answer:
                return answer
            with closing(answer["stream"]) as events:
                return list(events)
        finally:
            client.close()

    return await to_thread.run_sync(ask)


async def authorised_by_environment(**arguments: Any) -> str:
    """What botocore's client authorises itself by, without keys of its own. It sends an API key over TLS alone, so
    the request is caught before it leaves.
    """

    def ask() -> str:
        caught: list[str] = []

        def catch(request: Any, **_: Any) -> Any:
            caught.append(request.headers["Authorization"].decode())
            return AWSResponse(request.url, 200, {}, SimpleNamespace(stream=lambda: [b"{}"]))

        client = _session().create_client("bedrock-runtime", region_name=REGION)
        client.meta.events.register("before-send.bedrock-runtime", catch)
        client.converse(**arguments)
        client.close()
        return caught[0]

    return await to_thread.run_sync(ask)


@cache
def _session() -> Any:
    return botocore.session.Session()


def signature(sent: Sent, secret: str = SECRET) -> tuple[str, str]:
    """The signature that a request carries, and the one that AWS would compute for it ("Create a signed AWS API
    request", IAM user guide). S3 does not encode the path again, and may leave the body unsigned.
    """
    told = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=(?:[^/]+)/(.+), SignedHeaders=(.+), Signature=(\w+)",
        sent.headers["Authorization"],
    )
    assert told is not None
    scope, names, given = told.groups()
    headers = {name.lower(): " ".join(value.split()) for name, value in sent.headers.items()}
    path, _, query = sent.target.partition("?")
    is_s3 = scope.endswith("/s3/aws4_request")
    canonical = [sent.method, path if is_s3 else quote(path, safe="/-_.~"), "&".join(sorted(query.split("&")))]
    canonical += [f"{name}:{headers[name]}" for name in names.split(";")]
    canonical += ["", names, headers["x-amz-content-sha256"] if is_s3 else hashlib.sha256(sent.raw).hexdigest()]
    hashed = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    return given, _hmac(key, f"AWS4-HMAC-SHA256\n{headers['x-amz-date']}\n{scope}\n{hashed}").hex()


def signed_headers(sent: Sent) -> set[str]:
    [names] = re.findall("SignedHeaders=([^,]+)", sent.headers["Authorization"])
    return set(names.split(";"))


def scope(sent: Sent) -> tuple[str, ...]:
    """Who signed, for which region and service."""
    [told] = re.findall("Credential=([^,]+)", sent.headers["Authorization"])
    key_id, _, *where = told.split("/")
    return key_id, *where


_hmac: Callable[[bytes, str], bytes] = lambda key, text: hmac.new(key, text.encode(), hashlib.sha256).digest()  # noqa: E731
