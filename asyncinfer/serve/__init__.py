"""A server with OpenAI's API over any engine. Needs the extra `serve`."""

from asyncinfer.serve.app import create_app
from asyncinfer.serve.server import serve
from asyncinfer.serve.settings import ServerSettings

__all__ = ["ServerSettings", "create_app", "serve"]
