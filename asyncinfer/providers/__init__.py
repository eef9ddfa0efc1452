"""The providers of APIs, one row of data each, and the values from which a row is made.

To register a provider of your own, without a change to this package:

    register_provider(Provider("SCALEWAY", "https://api.scaleway.ai/v1/chat/completions", Key("SCW_SECRET_KEY")))

To add a provider to this package, see `.github/CONTRIBUTING.md`.
"""

from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.dialects.openai.quirks import DocumentForm, Files, Patterns, Quirks, Schemas
from asyncinfer.providers.auth import Key, OptionalKey
from asyncinfer.providers.provider import Provider

__all__ = [
    "DocumentForm",
    "Files",
    "Key",
    "OptionalKey",
    "Patterns",
    "Provider",
    "Quirks",
    "Schemas",
    "openai_chat",
]
