"""Use an API that asyncinfer does not know, but that has the format of OpenAI's chat completions.

    export DEEPINFRA_API_KEY=...
    python examples/custom_provider.py                                       # lists the models
    python examples/custom_provider.py meta-llama/Meta-Llama-3.1-8B-Instruct "What is the capital of France?"

The URL is from https://deepinfra.com/docs/advanced/openai_api (November 2026).
"""

from __future__ import annotations

import asyncio
import sys

from asyncinfer import InferenceConfig, ModelParams, build_engine, register_provider
from asyncinfer.providers import Key, Provider

# If an API differs from OpenAI's, add `dialect=openai_chat(Quirks(...))`. The docstring of `Quirks` lists the
# differences, such as another name of a field, or parameters that the API does not support.
DEEPINFRA = Provider(
    name="DEEPINFRA",  # Then `engine: DEEPINFRA` works in every configuration of this program.
    url="https://api.deepinfra.com/v1/openai/chat/completions",
    auth=Key("DEEPINFRA_API_KEY"),  # The environment variable that holds the key
    workers=100,  # The most requests in flight
)


async def main(model: str = "", question: str = "Hello!") -> None:
    register_provider(DEEPINFRA)
    async with build_engine(InferenceConfig(engine="DEEPINFRA", model=ModelParams(model_name=model))) as engine:
        if model:
            print((await engine.agenerate(question)).text)
        else:
            print("\n".join(await engine.alist_models()))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
