"""Let a model call Python functions, with a loop that you write yourself.

    python examples/tool_loop.py                                                 # SmolLM2, in this process
    python examples/tool_loop.py engine=OPENAI model.model_name=gpt-5-mini       # the key is in OPENAI_API_KEY

Other arguments, such as `generation.max_new_tokens=64`, replace settings of quickstart.yaml.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from asyncinfer import (
    BaseInferenceEngine,
    Conversation,
    GenerationParams,
    InferenceConfig,
    Message,
    Role,
    ToolCall,
    build_engine,
)

FOLDER = Path(__file__).parent
QUESTION = "What is the weather in Paris?"
# `tool_choice` of each turn. A model as small as SmolLM2 cannot decide when to call a function: it must call one in the
# first turn, and cannot in the second one. Larger models decide by themselves ("auto").
SMALL_MODEL, LARGE_MODEL = ["required", "none"], ["auto"] * 5


async def get_weather(city: str) -> str:
    """Report the weather.

    Args:
        city: The name of the city.
    """
    return f"It is sunny in {city}, at 24 degrees Celsius."


TOOLS = {"get_weather": get_weather}


async def run_tool(call: ToolCall) -> Message:
    """Call the function that the model chose. A mistake of the model becomes a message, so that it can try again."""
    try:
        output = await TOOLS[call.function.name](**call.function.get_arguments_dict())
    except (KeyError, TypeError, ValueError) as error:
        output = f"This call is wrong: {error!r}"
    print(f"{call.function.name}({call.function.arguments}) -> {output}")
    return Message(role=Role.TOOL, tool_call_id=call.id, content=output)


async def run_loop(engine: BaseInferenceEngine, chat: Conversation, choices: Sequence[str]) -> Conversation:
    """Ask the model, run the functions that it calls, and ask again, until it answers with a text."""
    for choice in choices:
        chat = await engine.agenerate(chat, InferenceConfig(generation=GenerationParams(tool_choice=choice)))
        calls = chat.messages[-1].tool_calls or []
        if not calls:
            break
        chat.messages += await asyncio.gather(*map(run_tool, calls))
    return chat


async def main() -> None:
    config = InferenceConfig.from_yaml(FOLDER / "quickstart.yaml", overrides=sys.argv[1:])
    choices = LARGE_MODEL
    if "SmolLM2-135M" in config.model.model_name:
        # The chat template of SmolLM2 does not show functions to the model. This one does.
        config.model.chat_template = str(FOLDER / "data" / "chatml_tools.jinja")
        choices = SMALL_MODEL
    async with build_engine(config) as engine:
        chat = Conversation(messages=[Message(role=Role.USER, content=QUESTION)], tools=list(TOOLS.values()))
        print((await run_loop(engine, chat, choices)).text)


if __name__ == "__main__":
    asyncio.run(main())
