"""A chat in the browser: FastAPI, one engine for all requests, and answers that appear while the model writes them.

    pip install 'fastapi>=0.135' uvicorn
    uvicorn --app-dir examples web_app:app                                      # SmolLM2, in this process
    CHAT_CONFIG=examples/remote.yaml uvicorn --app-dir examples web_app:app     # a server that the file names

Then open http://127.0.0.1:8000
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field

from asyncinfer import AsyncInferError, BaseInferenceEngine, InferenceConfig, build_engine

FOLDER = Path(__file__).parent
CONFIG = InferenceConfig.from_yaml(os.environ.get("CHAT_CONFIG", FOLDER / "quickstart.yaml"))
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
PAGE = (FOLDER / "web_app.html").read_text(encoding="utf-8")

log = logging.getLogger("uvicorn.error")


class State(TypedDict):
    engine: BaseInferenceEngine


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[State]:
    """One engine serves all requests: they share its model or connections, its batches and its limits."""
    async with build_engine(CONFIG) as engine:
        yield {"engine": engine}


def engine_of(request: Request) -> BaseInferenceEngine:
    return request.state.engine


class ChatMessage(BaseModel):
    """Only texts. The package's own `Message` can name files, which would let a client read files of the server."""

    role: Literal["user", "assistant"]
    content: str = Field(min_length=1, max_length=10_000)


class Chat(BaseModel):
    messages: list[ChatMessage] = Field(min_length=1, max_length=100)


app = FastAPI(lifespan=lifespan)


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    return PAGE


@app.post("/chat", response_class=EventSourceResponse)
async def chat(
    chat: Chat, engine: Annotated[BaseInferenceEngine, Depends(engine_of)]
) -> AsyncIterator[ServerSentEvent]:
    """Send the pieces of the answer as events, and then the event `done` or `failed`.

    When the client leaves, FastAPI cancels this function. Leaving the `async with` block then cancels the request to
    the model, so that nothing works for an answer that nobody reads.
    """
    try:
        async with engine.astream([SYSTEM, *(message.model_dump() for message in chat.messages)]) as stream:
            async for delta in stream:
                if delta.content:
                    yield ServerSentEvent(data=delta.content)
    except AsyncInferError as error:
        # The log has the details. They may name servers, so the client does not get them.
        log.error("no answer: %s", error)
        yield ServerSentEvent(event="failed", data="The model did not answer. Please try again.")
    else:
        yield ServerSentEvent(event="done", data="")
