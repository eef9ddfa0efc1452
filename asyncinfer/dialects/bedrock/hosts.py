"""The hosts of AWS: the region in a name, the service that manages batch jobs, and S3.

Sources, November 2026: "Amazon Bedrock endpoints and quotas" and "Amazon S3 endpoints" in AWS's general reference;
"Service-specific endpoints" in the reference of its SDKs, for the environment variables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from asyncinfer.errors import ConfigError

_REGION = re.compile(r"\.([a-z]{2,}(?:-[a-z]+)+-\d+)\.(?:[a-z.]+\.)?(?:amazonaws\.com|api\.aws|on\.aws)")
_RUNTIME = re.compile(r"(?<=://)bedrock-runtime(?=[.-])")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
VARIABLES = (*_REGIONS, *_ENDPOINTS)


def region_in(url: str) -> str | None:
    """Return the region in the name of a host of AWS; None for other hosts."""
    found = _REGION.search(urlsplit(url).hostname or "")
    return found.group(1) if found else None


def control_plane(url: str) -> str:
    """Return the URL of the service that lists models and runs jobs, from that of the service that runs the models."""
    return _RUNTIME.sub("bedrock", url).rstrip("/")


def bucket_url(bucket: str, bedrock_url: str, variables: Mapping[str, str]) -> str:
    """Return the URL of a bucket in the region of Bedrock.

    Args:
        variables: The values of the environment variables in `VARIABLES`.

    Raises:
        ConfigError: The region is not known.
    """
    if endpoint := _first(variables, _ENDPOINTS):
        return f"{endpoint.rstrip('/')}/{bucket}"
    region = region_in(bedrock_url) or _first(variables, _REGIONS)
    if region is None:
        raise ConfigError("the AWS region of the bucket is not known; set the environment variable AWS_REGION")
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    if "." in bucket:  # The certificate of S3 covers only names without dots.
        return f"https://s3.{region}.{suffix}/{bucket}"
    return f"https://{bucket}.s3.{region}.{suffix}"


def _first(variables: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((value for name in names if (value := variables.get(name, "").strip())), None)
