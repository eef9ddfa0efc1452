"""The three local engines answer the same questions with the same model, SmolLM2-135M, greedily.

What must hold:
- Each engine gives the answers of its own library: `llama_cpp.Llama`, `model.generate` and `vllm.LLM.chat`, for each
  question alone. Rows of Transformers share a batch here. The other engines answer one row at a time, because their
  kernels may round differently in a batch.
- All engines evaluate the same prompts: the numbers of tokens are equal.
- The arithmetic of the engines differs: llama.cpp multiplies with 4 and 8 bits, the others with float32, with the same
  weights. So each token of an answer must be the likeliest one after the tokens before it, by Transformers in float32,
  or close to it: `NEAR` is the largest allowed distance in logits, for each library.

Run it with -s to see the answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from asyncinfer import (
    BaseInferenceEngine,
    Conversation,
    LlamaCppInferenceEngine,
    ModelParams,
    NativeTextInferenceEngine,
    VLLMInferenceEngine,
)
from asyncinfer.engines.local.gguf import find_local
from asyncinfer.engines.local.llama_cpp.compat import llama_class
from tests.asking import SEVERAL_TURNS, config, said
from tests.fakes import question
from tests.smollm2 import ONE_THREAD, PACKAGED, Smollm2

if not all(map(find_spec, ("vllm", "transformers", "llama_cpp"))):
    pytest.skip("needs the extra heavy", allow_module_level=True)

# torch and vLLM give deprecation warnings while they load.
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("one_torch_thread"),
]

TOKENS, CONTEXT = 24, 1024
NEAR = {"llama.cpp": 0.5, "Transformers": 1e-3, "vLLM": 1e-3}
SMALL = {"kv_cache_memory_bytes": 256 * 2**20, "max_num_seqs": 16}
QUESTIONS = [
    question("Hi"),
    question("What is the capital of France?"),
    question("Name three colours."),
    question("\u00bfCu\u00e1l es la capital de Espa\u00f1a? \U0001f1ea\U0001f1f8"),
    question("\u6cd5\u56fd\u7684\u9996\u90fd\u662f\u54ea\u91cc\uff1f"),
    question("Write a Python function that adds two numbers."),
    question("Here is a list: apples, pears, plums, cherries, grapes and figs. Which of these are red?"),
    question("Once upon a time there was a small town by the sea. " * 40 + "What was by the sea?"),
    Conversation.from_dict({"messages": SEVERAL_TURNS}),
    Conversation.from_dict(
        {
            "messages": [
                {"role": "system", "content": "You are a pirate, and speak like one."},
                {"role": "user", "content": "Where is the treasure?"},
            ]
        }
    ),
]
MESSAGES: list[list[dict[str, Any]]] = [conversation.to_dict()["messages"] for conversation in QUESTIONS]


class Reference:
    """The model in Transformers, in float32."""

    def __init__(self, smollm2: Smollm2) -> None:
        transformers: Any = import_module("transformers")
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(smollm2.model)
        self.model: Any = transformers.AutoModelForCausalLM.from_pretrained(smollm2.model, dtype="float32")

    def prompt(self, messages: Sequence[dict[str, Any]]) -> Any:
        return self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )

    def answer(self, messages: Sequence[dict[str, Any]]) -> str:
        prompt = self.prompt(messages)
        ids = self.model.generate(**prompt, max_new_tokens=TOKENS, do_sample=False)
        return self.tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)

    def distance(self, messages: Sequence[dict[str, Any]], answered: Conversation) -> float:
        """The largest distance of a token of the answer from the likeliest token at its place, in logits."""
        torch: Any = import_module("torch")
        tokens: list[int] = self.tokenizer(said(answered), add_special_tokens=False)["input_ids"]
        if answered.metadata["finish_reason"] == "stop":
            tokens.append(self.tokenizer.eos_token_id)
        prompt = self.prompt(messages)["input_ids"]
        with torch.inference_mode():
            logits = self.model(torch.cat([prompt, torch.tensor([tokens])], dim=1)).logits[0]
        places = logits[prompt.shape[1] - 1 : -1]
        chosen = places.gather(1, torch.tensor(tokens)[:, None])[:, 0]
        return float((places.max(dim=1).values - chosen).max())


@pytest.fixture(scope="module")
def reference(smollm2: Smollm2) -> Reference:
    return Reference(smollm2)


@pytest.fixture(scope="module")
def answers(smollm2: Smollm2) -> dict[str, list[Conversation]]:
    """The answers of each engine. llama.cpp and vLLM answer all questions at once, and then one at a time."""
    folder = str(smollm2.model)
    engines: dict[str, BaseInferenceEngine] = {
        "llama.cpp": LlamaCppInferenceEngine(
            ModelParams(model_name=PACKAGED, model_max_length=CONTEXT, model_kwargs=ONE_THREAD)
        ),
        "Transformers": NativeTextInferenceEngine(ModelParams(model_name=folder)),
        "vLLM": VLLMInferenceEngine(ModelParams(model_name=folder, model_max_length=CONTEXT, model_kwargs=SMALL)),
    }
    found: dict[str, list[Conversation]] = {}
    for name, engine in engines.items():
        settings = config(max_new_tokens=TOKENS)
        together = engine.infer(QUESTIONS, settings)
        if name != "Transformers":
            found[f"{name} in a batch"] = together
            together = [engine.infer([conversation], settings)[0] for conversation in QUESTIONS]
        found[name] = together
        engine.close()
    return found


def by_llama(_: Smollm2, __: Reference) -> Iterator[str]:
    llm = llama_class()(str(find_local(PACKAGED)), n_ctx=CONTEXT, verbose=False, **ONE_THREAD)
    for messages in MESSAGES:
        llm.reset()
        done = llm.create_chat_completion(messages, temperature=0.0, max_tokens=TOKENS)
        yield done["choices"][0]["message"]["content"]
    llm.close()


def by_transformers(_: Smollm2, reference: Reference) -> Iterator[str]:
    yield from map(reference.answer, MESSAGES)


def by_vllm(smollm2: Smollm2, _: Reference) -> Iterator[str]:
    vllm: Any = import_module("vllm")
    llm = vllm.LLM(str(smollm2.model), dtype="float32", max_model_len=CONTEXT, enforce_eager=True, **SMALL)
    how = vllm.SamplingParams(temperature=0.0, max_tokens=TOKENS)
    for messages in MESSAGES:
        yield llm.chat(messages, how, use_tqdm=False)[0].outputs[0].text


LIBRARIES = {"llama.cpp": by_llama, "Transformers": by_transformers, "vLLM": by_vllm}


@pytest.mark.parametrize("name", LIBRARIES)
def test_engine_gives_the_answers_of_its_library(
    name: str,
    answers: dict[str, list[Conversation]],
    smollm2: Smollm2,
    reference: Reference,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    assert list(map(said, answers[name])) == list(LIBRARIES[name](smollm2, reference))


def test_all_engines_evaluate_the_same_prompts(answers: dict[str, list[Conversation]], reference: Reference) -> None:
    lengths = [reference.prompt(messages)["input_ids"].shape[1] for messages in MESSAGES]
    for answered in answers.values():
        assert [one.metadata["usage"]["prompt_tokens"] for one in answered] == lengths


def test_answers_are_close_to_those_of_float32(answers: dict[str, list[Conversation]], reference: Reference) -> None:
    distances_by_engine = {
        name: [reference.distance(messages, one) for messages, one in zip(MESSAGES, answered, strict=True)]
        for name, answered in answers.items()
    }
    for row, messages in enumerate(MESSAGES):
        print(f"\n{messages[-1]['content'][-70:]}")
        for name, answered in answers.items():
            print(f"  {name:>20}  {distances_by_engine[name][row]:.4f}  {said(answered[row])!r}")
    for name, distances in distances_by_engine.items():
        assert max(distances) <= NEAR[name.partition(" ")[0]], name
