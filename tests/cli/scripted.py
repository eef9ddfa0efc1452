"""The real command line, with an engine that is controlled by the environment variable SCRIPT, a JSON object:

    SCRIPT='{"seconds": 0.1}' python -m tests.cli.scripted infer -c config.yaml

`seconds`: How long an answer takes. `slow`: The question whose answer never comes. `text`: The answer to all questions.
`cut`: The question whose answer is cut by length. `busy`: The question that is refused once. `fails`: The question
whose row fails. `again`: The error of `fails` says that another attempt may succeed. `dies`: The question at which the
engine dies. `wrong_key`: The API rejects the key. `log`: A file to which each question is appended.
"""

from __future__ import annotations

import json
import os

import anyio

from asyncinfer import (
    EngineDeadError,
    FinishReason,
    InferenceEngineType,
    InferenceErrorType,
    Message,
    RequestError,
    Role,
    Usage,
)
from asyncinfer.cli.main import main
from asyncinfer.engines.registry import ENGINES, EngineEntry
from asyncinfer.errors import ErrorScope
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from tests.fakes import SimpleEngine

_refused = set[str]()


class ScriptedEngine(SimpleEngine):
    """Answers `answer to <question>`, after `<system prompt>: ` if there is one."""

    @classmethod
    def get_supported_params(cls) -> set[str]:
        return {"max_new_tokens", "temperature"}

    async def _generate(self, conversation: Conversation) -> Completion:
        options = json.loads(os.environ.get("SCRIPT", "{}"))
        text = conversation.messages[-1].compute_flattened_text_content()
        if "log" in options:
            append_line(options["log"], text)
        await anyio.sleep(options.get("seconds", 0))
        if text == options.get("slow"):
            await anyio.sleep_forever()
        if text == options.get("fails"):
            raise RequestError(
                "the server says no",
                error_type=InferenceErrorType.API_STATUS,
                status_code=500 if options.get("again") else 400,
                is_retryable=bool(options.get("again")),
            )
        if options.get("wrong_key"):
            raise RequestError(
                "HTTP 401: the key is wrong",
                error_type=InferenceErrorType.API_STATUS,
                status_code=401,
                scope=ErrorScope.ACCOUNT,
            )
        if text == options.get("busy") and text not in _refused:
            _refused.add(text)
            raise RequestError(
                "busy",
                error_type=InferenceErrorType.API_STATUS,
                status_code=429,
                is_retryable=True,
                is_overload=True,
                retry_after=0.01,
            )
        if text == options.get("dies"):
            raise EngineDeadError("the server room is on fire", error_type=InferenceErrorType.ENGINE_FAILURE)
        system = conversation.first_message(Role.SYSTEM)
        opening = f"{system.content}: " if system is not None else ""
        answer = options.get("text") or f"{opening}answer to {text}"
        message = Message(role=Role.ASSISTANT, content=answer)
        reason = FinishReason.LENGTH if text == options.get("cut") else FinishReason.STOP
        return Completion(message, reason, Usage(3, 4, 7))


def append_line(path: str, text: str) -> None:
    """Append a line with one write, so that a kill leaves no partial line."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, text.encode() + b"\n")
    os.close(fd)


def run_scripted() -> None:
    """Run the command line with this engine."""
    ENGINES[InferenceEngineType.REMOTE] = EngineEntry(InferenceEngineType.REMOTE, "tests.cli.scripted:ScriptedEngine")
    main()


if __name__ == "__main__":
    run_scripted()
