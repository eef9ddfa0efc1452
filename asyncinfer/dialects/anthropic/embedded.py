"""The Messages API as other platforms embed it: Bedrock's InvokeModel, and Vertex.

The model is not in the body, and the version is. Automatic prompt caching (`cache_control` of the whole request) and
`metadata` are left out, because the platforms do not document them.

Sources, November 2026: anthropic-python 2.14 (`lib/bedrock/_client.py`, `lib/vertex/_client.py`), and "Anthropic Claude
Messages API" in the user guide of Bedrock.
"""

from __future__ import annotations

from asyncinfer.dialects.anthropic.messages import MessagesEncoder
from asyncinfer.dialects.base import Encoder, EncoderSettings


def embedded_messages(settings: EncoderSettings, version: str) -> Encoder:
    """Return the encoder of requests whose body is complete without a URL and headers.

    Args:
        version: The value of `anthropic_version`.

    Raises:
        ConfigError: The API does not support these settings.
    """
    generation = settings.generation
    extra = {"model": None, "cache_control": None, "anthropic_version": version, **generation.extra_body}
    own = generation.model_copy(update={"extra_body": extra})
    return MessagesEncoder(settings._replace(generation=own, user_id=None))
