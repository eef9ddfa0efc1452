"""What the tests of real models ask, on servers and in this process, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator

from asyncinfer import BaseInferenceEngine, Conversation, GenerationParams, InferenceConfig
from asyncinfer.types.answer import Completion
from asyncinfer.types.results import FailureDetail
from asyncinfer.types.stream import StreamDelta
from tests.fakes import question, questions, read_jsonl, write_jsonl

TOKENS = 16
CAPITAL = question("What is the capital of France?")
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,  # vLLM holds a forced call to its parameters only then.
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
FORCED = {"type": "function", "function": {"name": "weather"}}
ASKED_FOR_WEATHER = question("What is the weather in Paris?", tools=[WEATHER])
# A chat template that shows the tools to the model.
TOOL_TEMPLATE = (
    "{% if tools %}<|im_start|>system\nTools: {{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
SEVERAL_TURNS: list[dict[str, Any]] = [
    {"role": "system", "content": "You answer in one word."},
    {"role": "user", "content": "My name is Zo\u00eb \U0001f600. Remember it."},
    {"role": "assistant", "content": "I will."},
    {"role": "user", "content": "What is my name?"},
]


# The ids of SmolLM2's tokens that end an answer. If they are banned, every answer reaches its maximum length.
ENDS = (0, 2)
ENDLESS = dict.fromkeys(ENDS, -100.0)


class City(BaseModel):
    # Bounded, so that an answer is complete after a fixed number of tokens, whatever the model prefers.
    name: Annotated[str, Field(max_length=20)]
    big: bool


CITY_TOKENS = 200


def config(**generation: Any) -> InferenceConfig:
    return InferenceConfig(generation=GenerationParams.model_validate({"max_new_tokens": TOKENS, **generation}))


async def ask(engine: BaseInferenceEngine, asked: Conversation | str, **generation: Any) -> Conversation:
    """The conversation with its answer."""
    conversation = question(asked) if isinstance(asked, str) else asked
    [answered] = await engine.ainfer([conversation], config(**generation))
    return answered


async def refusal(engine: BaseInferenceEngine, asked: Conversation | str, **generation: Any) -> str:
    """Why the conversation cannot be answered as it is asked."""
    conversation = question(asked) if isinstance(asked, str) else asked
    result = await engine.ainfer_partial([conversation], config(**generation))
    assert result.failures[0].error_type == "config"
    return result.failures[0].error_message


async def answer(engine: BaseInferenceEngine, asked: Conversation = CAPITAL, **generation: Any) -> Conversation:
    """As `ask`, and the engine is closed."""
    async with engine:
        return await ask(engine, asked, **generation)


async def streamed(engine: BaseInferenceEngine, asked: Conversation = CAPITAL, **generation: Any) -> list[StreamDelta]:
    async with engine, engine.astream(asked, config(**generation)) as stream:
        return [delta async for delta in stream]


async def failure(engine: BaseInferenceEngine, asked: Conversation = CAPITAL, **generation: Any) -> FailureDetail:
    async with engine:
        result = await engine.ainfer_partial([asked], config(**generation))
    return result.failures[0]


async def failure_between_others(engine: BaseInferenceEngine, asked: Conversation, folder: Path) -> FailureDetail:
    """Why a row fails; the rows before and after it in the file are answered, and no request is sent twice."""
    run = config(max_new_tokens=4)
    run.input_path = str(write_jsonl(folder / "in.jsonl", [CAPITAL, asked, question("Name a colour.")]))
    run.output_path = str(folder / "out.jsonl")
    async with engine:
        summary = await engine.arun(run)
    assert (summary.completed, summary.failed, summary.attempts) == (2, 1, 3)
    [(index, failed)] = summary.failure_samples
    assert index == 1
    return failed


async def check_64_at_once(engine: BaseInferenceEngine, folder: Path) -> None:
    """All are answered, in their order, and the file says the same."""
    short = config(max_new_tokens=4)
    short.output_path = str(folder / "out.jsonl")
    async with engine:
        answers = await engine.ainfer(questions(64), short)
    assert [conversation.conversation_id for conversation in answers] == [f"q{i}" for i in range(64)]
    assert all(said(conversation) for conversation in answers)
    assert read_jsonl(folder / "out.jsonl") == [conversation.to_dict() for conversation in answers]


def said(conversation: Conversation) -> str:
    content = conversation.messages[-1].content
    assert isinstance(content, str)
    return content


def with_result(called: Conversation, content: str) -> Conversation:
    """`called`, which ends with a tool call, and what the tool gave."""
    [call] = called.messages[-1].tool_calls or []
    result = {"role": "tool", "tool_call_id": call.id, "content": content}
    return Conversation.from_dict({"messages": [*called.to_dict()["messages"], result], "tools": [WEATHER]})


def picky_city(rejects: int) -> type[City]:
    """A model whose validator rejects the first answers, whatever they are. No schema expresses that."""
    left = [rejects]

    class PickyCity(City):
        @model_validator(mode="after")
        def _reject(self) -> PickyCity:
            left[0] -= 1
            if left[0] >= 0:
                raise ValueError("should be another city")
            return self

    return PickyCity


async def check_typed_answers(engine: BaseInferenceEngine) -> None:
    """Check that the engine guides typed answers, so that they need no retry, and that others are asked again."""
    answers = await engine.ainfer([CAPITAL, "Name a city."], config(max_new_tokens=CITY_TOKENS), response_model=City)
    for answered in answers:
        assert answered.parsed == City.model_validate_json(answered.text)
        assert "validation_retries" not in answered.metadata
    untold = await engine.agenerate(
        question("Name a city.", tools=[WEATHER]),
        config(max_new_tokens=CITY_TOKENS, tool_choice="none"),
        response_model=City,
    )
    assert isinstance(untold.parsed, City)


async def check_rejected_answers(engine: BaseInferenceEngine) -> None:
    """Check that the engine asks again after an answer that does not fit, and fails the row after the last retry."""
    again = await engine.agenerate(CAPITAL, config(max_new_tokens=CITY_TOKENS), response_model=picky_city(1))
    assert isinstance(again.parsed, City)
    assert again.metadata["validation_retries"] == 1
    assert again.messages[:-1] == CAPITAL.messages
    cut = config(max_new_tokens=3, max_validation_retries=1)
    result = await engine.ainfer_partial([CAPITAL, "Name a city."], cut, response_model=City)
    assert [failure.error_type for failure in result.failures.values()] == ["invalid_answer"] * 2
    message = result.failures[0].error_message
    assert "City: it was cut off at the limit of its length (generation.max_new_tokens" in message
    assert "(2 answers were rejected)" in message


async def check_reach_of_sampling(engine: BaseInferenceEngine) -> None:
    """Check `top_k` and `repetition_penalty`."""
    greedy, counting = await engine.ainfer([CAPITAL, "Say yes yes yes yes yes yes."], config())
    one = config(temperature=1.0, use_sampling=True, top_k=1)
    assert (await engine.agenerate(CAPITAL, one)).text == greedy.text
    penalised = await engine.agenerate("Say yes yes yes yes yes yes.", config(repetition_penalty=20.0))
    assert penalised.text != counting.text


async def check_several_answers(engine: BaseInferenceEngine) -> None:
    """Check `n`: all answers are in the metadata, whole and streamed, and each has a seed of its own."""
    several = config(n=3, temperature=1.0, use_sampling=True, seed=7)
    answered = await engine.agenerate(CAPITAL, several)
    texts = [choice["message"]["content"] for choice in answered.metadata["choices"]]
    assert texts[0] == answered.text
    assert len(set(texts)) > 1
    alone = config(temperature=1.0, use_sampling=True, seed=8)
    assert (await engine.agenerate(CAPITAL, alone)).text == texts[1]
    usage = answered.metadata["usage"]
    assert TOKENS < usage["completion_tokens"] <= 3 * TOKENS
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    async with engine.astream(CAPITAL, several) as stream:
        completion = Completion.from_deltas([delta async for delta in stream])
    assert completion.metadata is not None
    assert [choice["message"]["content"] for choice in completion.metadata["choices"]] == texts
