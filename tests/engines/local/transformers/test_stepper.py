"""Batches of the Transformers engine: rows join, leave, are aborted and fail. On models with random weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from asyncinfer import Conversation, GenerationParams, ModelParams, RequestError
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.transformers import stepper as transformers_stepper
from asyncinfer.engines.local.transformers.batch import Batch
from asyncinfer.engines.local.transformers.load import load
from asyncinfer.engines.local.transformers.model import TransformersModel
from asyncinfer.engines.local.transformers.stepper import TransformersStepper
from asyncinfer.types.answer import Completion
from asyncinfer.types.stream import StreamDelta
from tests import tiny_models
from tests.fakes import question
from tests.smollm2 import Smollm2

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(find_spec("transformers") is None, reason="needs the extra heavy, see .ci/heavy"),
    pytest.mark.usefixtures("one_torch_thread"),
]

TEXTS = ["Hi", "What is the capital of France?", "Name three colours.", "Tell me about Paris, " * 6]


class Rows:
    """Runs a stepper as the model's thread does."""

    def __init__(self, folder: Path) -> None:
        self.model = TransformersModel(load(ModelParams(model_name=str(folder), device_map=None)))
        self.reset()

    def reset(self) -> None:
        self.stepper = TransformersStepper(self.model, 64, clock=iter(range(10**9)).__next__)
        self.done: dict[int, Completion | RequestError] = {}
        self.deltas: dict[int, list[str]] = defaultdict(list)
        self.steps = 0

    def add(self, row: int, prompt: str | Conversation, *, stream: bool = False, **generation: Any) -> None:
        params = GenerationParams.model_validate({"max_new_tokens": 12, **generation})
        conversation = question(prompt) if isinstance(prompt, str) else prompt
        request = Request(conversation, params, ModelParams(), stream=stream)
        self.stepper.add(row, self.stepper.prepare(request))

    def step(self) -> None:
        self.stepper.step(self._emit)
        self.steps += 1

    def run(self) -> dict[int, str]:
        while self.stepper.busy:
            self.step()
        return {row: self.text(row) for row in sorted(self.done)}

    def alone(self, text: str, **generation: Any) -> str:
        """The answer to a single row."""
        self.reset()
        self.add(0, text, **generation)
        [text] = self.run().values()
        self.reset()
        return text

    def text(self, row: int) -> str:
        completion = self.done[row]
        assert isinstance(completion, Completion), completion
        return completion.message.compute_flattened_text_content()

    def _emit(self, row: int, event: Any) -> None:
        if isinstance(event, StreamDelta):
            self.deltas[row].append(event.content)
        else:
            assert row not in self.done
            self.done[row] = event


def generated(rows: Rows, text: str, **given: Any) -> str:
    """The answer of `model.generate`."""
    tokenizer, model = rows.model.tokenizer, rows.model.hf
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    ids = model.generate(**prompt, **{"max_new_tokens": 12, "do_sample": False, **given})
    return tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)


@pytest.fixture(scope="module")
def tokenizer(smollm2: Smollm2) -> Path:
    return smollm2.model


@pytest.fixture(scope="module")
def llama(tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    return Rows(tiny_models.llama(tmp_path_factory.mktemp("llama"), tokenizer))


@pytest.fixture(scope="module")
def mistral(tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    return Rows(tiny_models.mistral(tmp_path_factory.mktemp("mistral"), tokenizer))


@pytest.fixture
def rows(llama: Rows) -> Rows:
    llama.reset()
    return llama


class TestBatches:
    def test_answers_equal_those_of_generate_alone(self, rows: Rows) -> None:
        for row, text in enumerate(TEXTS):
            rows.add(row, text)
        answers = list(rows.run().values())
        assert answers == [generated(rows, text) for text in TEXTS]
        assert len(set(answers)) == len(TEXTS)

    def test_joining_and_leaving_does_not_change_answers(self, rows: Rows) -> None:
        expected = [generated(rows, text, max_new_tokens=40 - 6 * row) for row, text in enumerate(TEXTS)]
        for row, text in enumerate(reversed(TEXTS)):
            rows.add(3 - row, text, max_new_tokens=40 - 6 * (3 - row))
            for _ in range(7):
                rows.step()
        assert len(rows.stepper._batch or ()) > 1
        assert list(rows.run().values()) == expected

    def test_padding_is_removed_with_the_longest_row(self, rows: Rows) -> None:
        rows.add(0, TEXTS[3], max_new_tokens=3)
        for _ in range(2):
            rows.step()
        rows.add(1, TEXTS[0], max_new_tokens=40)
        widths: list[int] = []
        while rows.stepper.busy:
            rows.step()
            if rows.stepper._batch is not None:
                widths.append(rows.stepper._batch._ids.shape[1])
        assert min(widths) < max(widths) - 16
        assert rows.text(1) == generated(rows, TEXTS[0], max_new_tokens=40)

    def test_row_is_emitted_as_soon_as_it_ends(self, rows: Rows) -> None:
        rows.add(0, TEXTS[1], max_new_tokens=30)
        rows.add(1, TEXTS[2], max_new_tokens=2)
        while 1 not in rows.done:
            rows.step()
        assert 0 not in rows.done
        assert len(rows.stepper._batch or ()) == 1

    def test_batch_holds_only_rows_with_the_same_settings(self, rows: Rows) -> None:
        rows.add(0, TEXTS[0])
        rows.add(1, TEXTS[1], temperature=0.5)
        rows.add(2, TEXTS[2])
        seen = set[tuple[int, ...]]()
        while rows.stepper.busy:
            rows.step()
            seen.add(tuple(sorted(row.number for row in rows.stepper._batch.rows)) if rows.stepper._batch else ())
        assert not {s for s in seen if 1 in s and len(s) > 1}
        assert any(s == (0, 2) for s in seen)

    def test_batch_size_limits_the_batch(self, rows: Rows) -> None:
        for row in range(7):
            rows.add(row, TEXTS[row % 3], batch_size=3)
        sizes = set[int]()
        while rows.stepper.busy:
            rows.step()
            sizes.add(len(rows.stepper._batch or ()))
        assert max(sizes) == 3
        assert len(rows.done) == 7

    def test_batch_starts_with_prompts_of_similar_length(self, rows: Rows) -> None:
        for row, text in enumerate([TEXTS[3], TEXTS[0], TEXTS[3], TEXTS[0]]):
            rows.add(row, text, batch_size=2)
        while rows.stepper._batch is None:
            rows.step()
        assert sorted(row.number for row in rows.stepper._batch.rows) == [0, 2]

    def test_batch_with_a_sliding_window_is_not_joined(self, mistral: Rows) -> None:
        mistral.reset()
        for row, text in enumerate(TEXTS):
            mistral.add(row, text)
            mistral.step()
        assert mistral.stepper._batch is None or not mistral.stepper._batch.can_be_joined
        assert list(mistral.run().values()) == [generated(mistral, text) for text in TEXTS]

    def test_generation_config_of_the_model_is_used(self, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rows.model.hf.generation_config, "repetition_penalty", 1.7)
        for row, text in enumerate(TEXTS):
            rows.add(row, text)
        assert list(rows.run().values()) == [generated(rows, text) for text in TEXTS]


class TestAbort:
    def test_aborted_row_does_not_change_other_answers(self, rows: Rows) -> None:
        for row, text in enumerate(TEXTS[:3]):
            rows.add(row, text)
        while rows.stepper._batch is None:
            rows.step()
        rows.stepper.abort(1)
        assert rows.run() == {0: generated(rows, TEXTS[0]), 2: generated(rows, TEXTS[2])}

    @pytest.mark.parametrize("beams", [1, 2])
    def test_all_rows_can_be_aborted(self, rows: Rows, beams: int) -> None:
        for row in range(2):
            rows.add(row, TEXTS[row], num_beams=beams)
        while rows.stepper._batch is None and rows.stepper._search is None:
            rows.step()
        rows.step()
        for row in range(2):
            rows.stepper.abort(row)
        assert not rows.stepper.busy
        assert rows.run() == {}

    def test_waiting_row_can_be_aborted(self, rows: Rows) -> None:
        rows.add(0, TEXTS[0])
        rows.stepper.abort(0)
        assert not rows.stepper.busy

    def test_row_of_a_beam_search_can_be_aborted(self, rows: Rows) -> None:
        for row in range(2):
            rows.add(row, TEXTS[row], num_beams=2)
        while rows.stepper._search is None:
            rows.step()
        rows.stepper.abort(0)
        assert rows.run() == {1: generated(rows, TEXTS[1], num_beams=2)}


def out_of_memory(times: int) -> Callable[..., None]:
    """A replacement for `Batch.advance` that fails the first `times` calls."""
    original, left = Batch.advance, [times]

    def advance(batch: Batch) -> None:
        if left[0] > 0:
            left[0] -= 1
            raise import_module("torch").OutOfMemoryError("CUDA out of memory")  # type: ignore[attr-defined]
        original(batch)

    return advance


class TestOutOfMemory:
    def test_batch_is_halved_and_rows_continue(self, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = [generated(rows, text) for text in TEXTS]
        monkeypatch.setattr(Batch, "advance", out_of_memory(1))
        for row, text in enumerate(TEXTS):
            rows.add(row, text, stream=True)
        assert list(rows.run().values()) == expected
        assert ["".join(rows.deltas[row]) for row in range(4)] == expected
        assert rows.stepper._max_rows == 2

    @pytest.mark.parametrize("where", ["join", "keep"])
    def test_batch_is_halved_if_joining_or_leaving_runs_out_of_memory(
        self, rows: Rows, monkeypatch: pytest.MonkeyPatch, where: str
    ) -> None:
        limits = [4, 12, 12, 12]
        expected = [generated(rows, text, max_new_tokens=n) for text, n in zip(TEXTS, limits, strict=True)]
        original, left = getattr(Batch, where), [1]

        def fail(batch: Batch, other: Any) -> None:
            if left[0] > 0:
                left[0] -= 1
                raise import_module("torch").OutOfMemoryError("CUDA out of memory")  # type: ignore[attr-defined]
            original(batch, other)

        monkeypatch.setattr(Batch, where, fail)
        for row, text in enumerate(TEXTS):
            rows.add(row, text, max_new_tokens=limits[row])
            rows.step()
            rows.step()
        assert list(rows.run().values()) == expected
        assert left == [0]

    def test_too_many_beams_are_rejected(self, rows: Rows) -> None:
        with pytest.raises(RequestError, match="more memory than is free"):
            rows.add(0, TEXTS[0], num_beams=10**7)

    def test_single_row_that_runs_out_of_memory_fails(self, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
        rows.add(0, TEXTS[0])
        monkeypatch.setattr(Batch, "advance", out_of_memory(1))
        while rows.stepper.busy:
            rows.step()
        assert "needs more memory" in str(rows.done[0])

    def test_free_memory_limits_the_batch(self, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
        row = 2 * 2 * 2 * 16 * 4  # Keys and values, layers, heads, size of a head, bytes per number.
        monkeypatch.setattr(rows.model, "_free_memory", lambda: 2 * 3 * row * 100)
        assert rows.model.rows_in_memory(100) == 3
        assert rows.model.rows_in_memory(10**9) == 1

    def test_row_that_makes_the_model_fail_fails_alone(self, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
        collate = rows.model.collate

        def strict(prompts: Any, answers: Any) -> Any:
            if any(len(prompt.tokens) > 60 for prompt in prompts):
                raise ValueError("no such length")
            return collate(prompts, answers)

        monkeypatch.setattr(rows.model, "collate", strict)
        monkeypatch.setattr(transformers_stepper, "_LENGTH_FACTOR", 100)
        for row, text in enumerate(TEXTS):
            rows.add(row, text)
        while rows.stepper.busy:
            rows.step()
        assert "no such length" in str(rows.done[3])
        assert [rows.text(row) for row in range(3)] == [generated(rows, text) for text in TEXTS[:3]]


class TestSettings:
    def test_answer_with_a_seed_does_not_depend_on_other_rows(self, rows: Rows) -> None:
        sampled = {"temperature": 1.0, "seed": 5}
        alone = rows.alone(TEXTS[1], **sampled)
        for row, text in enumerate(TEXTS):
            rows.add(row, text, **(sampled if row == 1 else {"temperature": 1.0, "seed": row}))
        assert rows.run()[1] == alone
        assert rows.alone(TEXTS[1], temperature=1.0, seed=6) != alone

    def test_tiny_temperature_takes_the_likeliest_token(self, rows: Rows) -> None:
        assert rows.alone(TEXTS[1], temperature=1e-38, seed=5) == generated(rows, TEXTS[1])

    def test_guide_without_a_next_token_fails_only_its_row(self, rows: Rows) -> None:
        rows.add(0, TEXTS[0])
        rows.add(1, TEXTS[1], guided_decoding={"regex": r"[^\s\S]"})
        while rows.stepper.busy:
            rows.step()
        assert rows.text(0) == generated(rows, TEXTS[0])
        assert isinstance(rows.done[1], RequestError)
        assert "could not be continued" in str(rows.done[1])

    def test_answer_is_one_of_ten_thousand_choices(self, rows: Rows) -> None:
        choices = [f"choice number {n}" for n in range(10_000)]
        assert rows.alone(TEXTS[1], guided_decoding={"choice": choices}) in choices

    def test_no_temperature_means_1(self, rows: Rows) -> None:
        assert rows.alone(TEXTS[1], temperature=None, seed=5) == rows.alone(TEXTS[1], temperature=1.0, seed=5)

    def test_top_p_and_min_p_restrict_sampling(self, rows: Rows) -> None:
        greedy = generated(rows, TEXTS[1])
        assert rows.alone(TEXTS[1], temperature=1.0, top_p=1e-6) == greedy
        assert rows.alone(TEXTS[1], temperature=1.0, min_p=1.0) == greedy

    @pytest.mark.parametrize("given", [{"num_beams": 3}, {"use_cache": False}])
    def test_beams_and_use_cache_give_the_answers_of_generate(self, rows: Rows, given: dict[str, Any]) -> None:
        for row, text in enumerate(TEXTS[:2]):
            rows.add(row, text, **given)
        assert list(rows.run().values()) == [generated(rows, text, **given) for text in TEXTS[:2]]

    def test_beam_search_with_a_seed_is_reproducible(self, rows: Rows) -> None:
        drawn = {"num_beams": 2, "temperature": 1.0, "seed": 1}
        assert rows.alone(TEXTS[0], **drawn) == rows.alone(TEXTS[0], **drawn)

    def test_bias_can_force_or_forbid_a_token(self, rows: Rows) -> None:
        assert rows.alone("Hi", logit_bias={28: 100.0}, max_new_tokens=3) == rows.model.tokenizer.decode([28] * 3)
        [first] = rows.model.tokenizer(generated(rows, "Hi", max_new_tokens=1), add_special_tokens=False)["input_ids"]
        assert first not in rows.model.tokenizer(rows.alone("Hi", logit_bias={first: -100.0}))["input_ids"]

    @pytest.mark.parametrize("penalty", ["frequency_penalty", "presence_penalty"])
    @pytest.mark.parametrize("beams", [1, 2])
    def test_penalties_count_earlier_tokens(self, rows: Rows, penalty: str, beams: int) -> None:
        given = {"logit_bias": {28: 100.0, 29: 90.0}, "num_beams": beams, "max_new_tokens": 2}
        assert rows.alone("Hi", **given, **{penalty: 20.0}) == rows.model.tokenizer.decode([28, 29])

    def test_stop_strings_and_ids_end_the_answer_before_them(self, rows: Rows) -> None:
        whole = generated(rows, TEXTS[1])
        ids = rows.model.tokenizer(whole, add_special_tokens=False)["input_ids"]
        assert rows.alone(TEXTS[1], stop_strings=[whole[4:7]]) == whole[: whole.index(whole[4:7])]
        stop = rows.model.tokenizer.decode(ids[:4])
        assert stop.startswith(rows.alone(TEXTS[1], stop_token_ids=[ids[4]]))

    def test_answer_can_include_the_prompt(self, rows: Rows) -> None:
        rows.add(0, TEXTS[0], exclude_prompt_from_response=False, stream=True)
        [text] = rows.run().values()
        assert text == "".join(rows.deltas[0])
        assert text.endswith(f"user\nHi\nassistant\n{generated(rows, 'Hi')}")

    def test_answer_has_usage_and_finish_reason(self, rows: Rows) -> None:
        rows.add(0, TEXTS[0], max_new_tokens=5)
        rows.run()
        completion = rows.done[0]
        assert isinstance(completion, Completion)
        assert completion.usage is not None
        assert completion.usage.completion_tokens == 5
        assert completion.finish_reason == "length"

    @pytest.mark.parametrize(
        ("conversation", "generation", "message"),
        [
            (question("long " * 300), {}, r"has 3\d\d tokens, the context holds 256"),
            (question("Hi"), {"logit_bias": {10**7: 1.0}}, "token ids go from 0 to"),
            (question("Hi"), {"num_beams": 2, "guided_decoding": {"regex": "a"}}, "cannot be used together"),
            (question("Hi"), {"guided_decoding": {"regex": "(?=a)b"}}, "no grammar can express it: look-around"),
            (question([{"type": "image_url", "content": "data:,"}]), {}, "reads text only"),  # type: ignore[arg-type]
        ],
    )
    def test_unsupported_row_is_rejected(
        self, rows: Rows, conversation: Conversation, generation: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(RequestError, match=message):
            rows.add(0, conversation, **generation)
