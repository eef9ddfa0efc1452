"""Hundreds of PydanticAI agents share one engine: one model, one set of batches, permits and limits.

    pip install '.[smollm2,pydantic-ai]'
    python examples/agents.py                                             # 200 agents on SmolLM2, in this process
    python examples/agents.py 20                                          # 20 agents
    python examples/agents.py engine=OPENAI model.model_name=gpt-5-mini   # the key is in OPENAI_API_KEY

Other arguments, such as `generation.max_new_tokens=64`, replace settings of quickstart.yaml.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from pydantic_ai import Agent

from asyncinfer import InferenceConfig, build_engine
from asyncinfer.integrations.pydantic_ai import AsyncInferModel

COUNTRIES = ["Japan", "France", "Italy", "Egypt", "Spain", "Germany", "Kenya", "Peru", "Canada", "Norway"]


async def run_agent(model: AsyncInferModel, number: int) -> str:
    """Make an agent, and let it answer one question. A real one would have tools and an output type, too."""
    agent = Agent(model, instructions="You are a helpful assistant.")
    result = await agent.run(f"What is the capital of {COUNTRIES[number % len(COUNTRIES)]}?")
    return result.output


async def main(count: int, *overrides: str) -> None:
    settings = ["generation.max_new_tokens=16", *overrides]
    config = InferenceConfig.from_yaml(Path(__file__).with_name("quickstart.yaml"), overrides=settings)
    async with build_engine(config) as engine:
        model = AsyncInferModel(engine)
        began = time.perf_counter()
        # All agents run at the same time. The engine batches their requests, as far as its limits allow.
        answers = await asyncio.gather(*(run_agent(model, number) for number in range(count)))
        seconds = time.perf_counter() - began
    print("\n".join(answers[: len(COUNTRIES)]))
    print(f"{count} agents, {count / seconds:.1f} answers per second")


if __name__ == "__main__":
    numbers = [argument for argument in sys.argv[1:] if argument.isdecimal()]
    overrides = [argument for argument in sys.argv[1:] if not argument.isdecimal()]
    asyncio.run(main(int(numbers[0]) if numbers else 200, *overrides))
