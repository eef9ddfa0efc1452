"""How the next token of a row is picked from the model's scores."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, cast

from asyncinfer.engines.llama_api import api, complaints
from asyncinfer.types.results import unanswerable

# As in the system this re-implements, which leaves top-k at llama-cpp-python's default.
TOP_K = 40
PENALTY_WINDOW = 64


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are picked. Temperature 0 takes the likeliest; `grammar` is GBNF text."""

    temperature: float = 0.0
    top_p: float = 1.0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int = 0
    logit_bias: Mapping[int, float] = field(default_factory=dict[int, float])
    grammar: str | None = None


class Candidates:
    """Scored tokens as llama.cpp's samplers take them: room for a vocabulary, used by one row at a time."""

    def __init__(self, vocabulary: int) -> None:
        self._np: Any = import_module("numpy")
        kind = self._np.dtype([("id", "i4"), ("logit", "f4"), ("p", "f4")])
        self._rows: Any = self._np.zeros(vocabulary, kind)
        self._ids: Any = self._np.arange(vocabulary, dtype="i4")
        pointer = cast(Any, ctypes.POINTER(api().llama_token_data))
        self._all: Any = api().llama_token_data_array(data=self._rows.ctypes.data_as(pointer))
        self._one: Any = (api().llama_token_data * 1)()
        self._single: Any = api().llama_token_data_array(data=ctypes.cast(self._one, pointer))

    def fill(self, logits: Any) -> None:
        self._rows["id"], self._rows["logit"] = self._ids, logits
        self._all.size, self._all.selected, self._all.sorted = len(self._ids), -1, False

    def apply(self, sampler: Any) -> None:
        api().llama_sampler_apply(sampler, ctypes.byref(self._all))

    def likeliest(self) -> int:
        return int(self._rows["logit"].argmax())

    def any_left(self) -> bool:
        return bool(self._rows["logit"].max() > -self._np.inf)

    def selected(self) -> int:
        """The token that the last sampler of a chain chose; -1 if it could choose none."""
        at: int = self._all.selected
        return int(self._all.data[at].id) if 0 <= at < self._all.size else -1

    def passes(self, token: int, sampler: Any) -> bool:
        """Whether `sampler` leaves `token` its score."""
        self._one[0].id, self._one[0].logit = token, 0.0
        self._single.size, self._single.selected, self._single.sorted = 1, -1, False
        api().llama_sampler_apply(sampler, ctypes.byref(self._single))
        return self._one[0].logit > -self._np.inf


class Sampler:
    """Picks the tokens of one row, and remembers those it picked.

    A token is handed to the grammar only once it is known to fit: llama.cpp ends the process otherwise.
    """

    def __init__(self, sampling: Sampling, vocabulary: int, vocab: Any, candidates: Candidates) -> None:
        """Raises ValueError when llama.cpp does not understand the grammar."""
        self._candidates = candidates
        self._greedy = sampling.temperature == 0.0
        self._grammar = _grammar(sampling.grammar, vocab)
        self._adjust = _chain(_adjusting(sampling, vocabulary))
        self._choose = None if self._greedy else _chain(_choosing(sampling))

    def sample(self, logits: Any) -> int:
        """The next token. Raises RequestError when the grammar allows none."""
        if self._greedy and self._adjust is None and self._grammar is None:
            return int(logits.argmax())
        self._candidates.fill(logits)
        if self._adjust is not None:
            self._candidates.apply(self._adjust)
        token = self._likeliest() if self._choose is None else self._chosen(self._choose)
        for link in (self._adjust, self._grammar):
            if link is not None:
                api().llama_sampler_accept(link, token)
        return token

    def close(self) -> None:
        for link in (self._adjust, self._grammar, self._choose):
            if link is not None:
                api().llama_sampler_free(link)
        self._adjust = self._grammar = self._choose = None

    def _likeliest(self) -> int:
        token = self._candidates.likeliest()
        # Trying one token against the grammar is far quicker than trying all; mostly it fits.
        if self._grammar is not None and not self._candidates.passes(token, self._grammar):
            self._constrain()
            token = self._candidates.likeliest()
        return token

    def _chosen(self, chain: Any) -> int:
        if self._grammar is not None:
            self._constrain()
        self._candidates.apply(chain)
        token = self._candidates.selected()
        if token < 0 or (self._grammar is not None and not self._candidates.passes(token, self._grammar)):
            raise unanswerable("llama.cpp can pick no token with this temperature, top_p and min_p")
        return token

    def _constrain(self) -> None:
        self._candidates.apply(self._grammar)
        if not self._candidates.any_left():
            raise unanswerable("no token of the model's vocabulary can continue what the answer must match")


def _adjusting(s: Sampling, vocabulary: int) -> Iterator[Any]:
    """What changes the scores, in the order in which llama-cpp-python has it."""
    if s.logit_bias:
        biases = (api().llama_logit_bias * len(s.logit_bias))(*s.logit_bias.items())
        yield api().llama_sampler_init_logit_bias(vocabulary, len(s.logit_bias), biases)
    if s.frequency_penalty or s.presence_penalty:
        yield api().llama_sampler_init_penalties(
            vocabulary, PENALTY_WINDOW, 1.0, s.frequency_penalty, s.presence_penalty
        )


def _choosing(s: Sampling) -> Iterator[Any]:
    yield api().llama_sampler_init_top_k(TOP_K)
    yield api().llama_sampler_init_top_p(s.top_p, 1)
    yield api().llama_sampler_init_min_p(s.min_p, 1)
    yield api().llama_sampler_init_temp(s.temperature)
    yield api().llama_sampler_init_dist(s.seed)


def _chain(links: Iterator[Any]) -> Any:
    """The links as one sampler; None if there are none."""
    made = list(links)
    if not made:
        return None
    chain = api().llama_sampler_chain_init(api().llama_sampler_chain_default_params())
    for link in made:
        api().llama_sampler_chain_add(chain, link)
    return chain


def _grammar(text: str | None, vocab: Any) -> Any:
    if text is None:
        return None
    sampler = api().llama_sampler_init_grammar(vocab, text.encode("utf-8"), b"root")
    if not sampler:
        raise ValueError(complaints() or "llama.cpp does not understand this grammar")
    return sampler
