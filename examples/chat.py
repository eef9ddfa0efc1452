"""Chat in the terminal. Each answer appears while the model writes it.

    python examples/chat.py                                                  # SmolLM2, in this process
    python examples/chat.py engine=OPENAI model.model_name=gpt-5-mini        # the key is in OPENAI_API_KEY
    python examples/chat.py engine=REMOTE model.model_name=my-model remote_params.api_url=http://localhost:8000/v1

Ctrl-C or Ctrl-D ends the program.

This program needs no `async`, so it uses the blocking method `stream`. In an async function, write
`async with engine.astream(chat) as stream` and `async for delta in stream`, as in web_app.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

from asyncinfer import (
    BaseInferenceEngine,
    Completion,
    Conversation,
    InferenceConfig,
    Message,
    Role,
    StreamDelta,
    build_engine,
)


def answer(engine: BaseInferenceEngine, chat: Conversation) -> Conversation:
    """Print the answer piece by piece. Return the chat with the answer at its end."""
    deltas = list[StreamDelta]()
    for delta in engine.stream(chat):
        print(delta.content, end="", flush=True)
        deltas.append(delta)
    print()
    return Completion.from_deltas(deltas).append_to(chat)


def main() -> None:
    # Arguments such as `generation.max_new_tokens=64` replace settings of the file.
    config = InferenceConfig.from_yaml(Path(__file__).with_name("quickstart.yaml"), overrides=sys.argv[1:])
    engine = build_engine(config)
    chat = Conversation(messages=[Message(role=Role.SYSTEM, content="You are a helpful assistant.")])
    try:
        while True:
            # The model sees the whole chat, so it can refer to earlier answers.
            chat.messages.append(Message(role=Role.USER, content=input("> ")))
            chat = answer(engine, chat)
    except (EOFError, KeyboardInterrupt):
        print()
    finally:
        engine.close()


if __name__ == "__main__":
    main()
