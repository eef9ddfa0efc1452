"""Turn texts into objects of a pydantic model. Models in this process can only write JSON that fits it; other answers
that do not fit are asked again.

    python examples/structured_output.py                                             # SmolLM2, in this process
    python examples/structured_output.py engine=OPENAI model.model_name=gpt-5-mini   # the key is in OPENAI_API_KEY

Other arguments, such as `generation.max_new_tokens=64`, replace settings of quickstart.yaml.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from pydantic import BaseModel, Field

from asyncinfer import Conversation, InferenceConfig, Message, Role, build_engine

TEXTS = [
    "Ada Lovelace, a mathematician, was born in London in 1815.",
    "Frida Kahlo (1907-1954) painted many portraits.",
    "The chemist Dmitri Mendeleev was born in Siberia in 1834.",
]


class Person(BaseModel):
    """A person in a text. This docstring and the descriptions of the fields are part of the schema."""

    name: str
    profession: str = Field(description="In one word", max_length=30)
    birth_year: int = Field(ge=0, le=2100)


def question(text: str) -> Conversation:
    """Ask for the person in a text. One example shows even a small model what to do."""
    example = Person(name="Marie Curie", profession="physicist", birth_year=1867)
    return Conversation(
        messages=[
            Message(role=Role.SYSTEM, content="Read the text, and answer with the person in it, as JSON."),
            Message(role=Role.USER, content="The physicist Marie Curie was born in Warsaw in 1867."),
            Message(role=Role.ASSISTANT, content=example.model_dump_json()),
            Message(role=Role.USER, content=text),
        ]
    )


async def main() -> None:
    config = InferenceConfig.from_yaml(Path(__file__).with_name("quickstart.yaml"), overrides=sys.argv[1:])
    async with build_engine(config) as engine:
        # All texts are read at the same time. The answers have the order of the texts.
        for answered in await engine.ainfer([question(text) for text in TEXTS], response_model=Person):
            person = answered.parsed
            print(f"{person.name}, {person.profession}, born in {person.birth_year}")


if __name__ == "__main__":
    asyncio.run(main())
