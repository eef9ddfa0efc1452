"""Who speaks which dialect, where, with which key. What a row of one's own is made of:

register_provider(Provider("GROQ", "https://api.groq.com/openai/v1/chat/completions", Key("GROQ_API_KEY")))
"""

from asyncinfer.dialects.openai import openai_chat
from asyncinfer.dialects.openai_chat import Quirks
from asyncinfer.providers.auth import Key
from asyncinfer.providers.provider import Provider

__all__ = ["Key", "Provider", "Quirks", "openai_chat"]
