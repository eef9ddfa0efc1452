"""botocore, the judge of what goes to AWS and comes from it; and AWS's own rule for what a signature must be."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from contextlib import closing
from functools import cache
from typing import Any
from urllib.parse import quote

import botocore.session
from anyio import to_thread
from botocore.config import Config

from tests.recorder import Recorder, Sent

KEY_ID, SECRET, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "a-session-token=="
REGION = "eu-west-3"


def base(api: Recorder) -> str:
    """The API's URL as AWS's are: without a path."""
    return api.url.removesuffix("/v1")


async def asked(api: Recorder, operation: str, service: str = "bedrock-runtime", **arguments: Any) -> Any:
    """What botocore's client makes of the recorder's answer to this request, streams whole."""

    def ask() -> Any:
        with_keys = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET, "aws_session_token": TOKEN}
        config = Config(retries={"total_max_attempts": 1}, region_name=REGION)
        client = _session().create_client(service, endpoint_url=base(api), config=config, **with_keys)
        try:
            answer = getattr(client, operation)(**arguments)
            if "stream" not in answer:
                return answer
            with closing(answer["stream"]) as events:
                return list(events)
        finally:
            client.close()

    return await to_thread.run_sync(ask)


@cache
def _session() -> Any:
    return botocore.session.Session()


def signature(sent: Sent, secret: str = SECRET) -> tuple[str, str]:
    """The signature that a request carries, and the one that AWS would compute for it ("Create a signed AWS API
    request", IAM user guide).
    """
    told = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=(?:[^/]+)/(.+), SignedHeaders=(.+), Signature=(\w+)",
        sent.headers["Authorization"],
    )
    assert told is not None
    scope, names, given = told.groups()
    headers = {name.lower(): " ".join(value.split()) for name, value in sent.headers.items()}
    path, _, query = sent.target.partition("?")
    canonical = [sent.method, quote(path, safe="/-_.~"), query]
    canonical += [f"{name}:{headers[name]}" for name in names.split(";")]
    canonical += ["", names, hashlib.sha256(sent.raw).hexdigest()]
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
