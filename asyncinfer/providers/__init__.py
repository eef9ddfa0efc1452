"""Who speaks which dialect, where, with which key. What a row of one's own is made of:

register_provider(Provider("GROQ", "https://api.groq.com/openai/v1/chat/completions", Key("GROQ_API_KEY")))
"""

from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.dialects.openai.quirks import Files, Patterns, Quirks, Schemas
from asyncinfer.providers.auth import Key
from asyncinfer.providers.provider import Provider

__all__ = ["Files", "Key", "Patterns", "Provider", "Quirks", "Schemas", "openai_chat"]
