"""Chooses the next token of a row from the scores of the model."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, cast

from asyncinfer.engines.local.llama_cpp.compat import api
from asyncinfer.engines.local.structured.guide import Guide
from asyncinfer.errors import invalid_request

# The default of llama-cpp-python, which Oumi Infer uses too.
TOP_K = 40
PENALTY_WINDOW = 64


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. Temperature 0 means the likeliest token, and `top_k` 0 all tokens."""

    temperature: float = 0.0
    top_k: int = TOP_K
    top_p: float = 1.0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0
    logit_bias: Mapping[int, float] = field(default_factory=dict[int, float])


class Candidates:
    """The tokens of a vocabulary with their scores, in the form that llama.cpp's samplers expect.

    All rows share one object; one row uses it at a time.
    """

    def __init__(self, vocabulary: int) -> None:
        self._np: Any = import_module("numpy")
        kind = self._np.dtype([("id", "i4"), ("logit", "f4"), ("p", "f4")])
        self._rows: Any = self._np.zeros(vocabulary, kind)
        self._ids: Any = self._np.arange(vocabulary, dtype="i4")
        pointer = cast(Any, ctypes.POINTER(api().llama_token_data))
        self._all: Any = api().llama_token_data_array(data=self._rows.ctypes.data_as(pointer))

    def fill(self, logits: Any) -> None:
        self._rows["id"], self._rows["logit"] = self._ids, logits
        self._all.size, self._all.selected, self._all.sorted = len(self._ids), -1, False

    def apply(self, sampler: Any) -> None:
        api().llama_sampler_apply(sampler, ctypes.byref(self._all))

    def likeliest(self) -> int:
        return int(self._rows["logit"].argmax())

    def forbid(self, allowed: Any) -> None:
        """Set the scores of all tokens that are not in `allowed` to minus infinity."""
        self._rows["logit"][~allowed] = -self._np.inf

    def selected(self) -> int:
        """The token that the last sampler of a chain selected; -1 if it selected none."""
        at: int = self._all.selected
        return int(self._all.data[at].id) if 0 <= at < self._all.size else -1


class Sampler:
    """Chooses the tokens of one row, and remembers them for the penalties. `guide` restricts the choice."""

    def __init__(self, sampling: Sampling, vocabulary: int, candidates: Candidates, guide: Guide | None = None) -> None:
        self._candidates = candidates
        self._guide = guide
        self._adjust = _chain(_adjusting_samplers(sampling, vocabulary))
        self._choose = None if sampling.temperature == 0.0 else _chain(_choosing_samplers(sampling))

    @property
    def ended(self) -> bool:
        """Whether only an end token can follow."""
        return self._guide is not None and self._guide.ended

    def sample(self, logits: Any) -> int:
        """Choose the next token.

        Raises:
            RequestError: The guide allows no token.
        """
        token = self._likeliest(logits) if self._choose is None else self._draw_token(logits, self._choose)
        if self._adjust is not None:
            api().llama_sampler_accept(self._adjust, token)
        if self._guide is not None:
            self._guide.take(token)
            self._check()
        return token

    def close(self) -> None:
        for sampler in (self._adjust, self._choose):
            if sampler is not None:
                api().llama_sampler_free(sampler)
        self._adjust = self._choose = None

    def _likeliest(self, logits: Any) -> int:
        if self._adjust is None:
            token = int(logits.argmax())
        else:
            self._fill(logits)
            token = self._candidates.likeliest()
        # Checking one token is much faster than computing all allowed tokens, and usually the token is allowed.
        if self._guide is None or self._guide.allows(token):
            return token
        if self._adjust is None:
            self._fill(logits)
        self._forbid(self._guide)
        return self._candidates.likeliest()

    def _draw_token(self, logits: Any, chain: Any) -> int:
        self._fill(logits)
        if self._guide is not None:
            self._forbid(self._guide)
        self._candidates.apply(chain)
        token = self._candidates.selected()
        if token < 0 or (self._guide is not None and not self._guide.allows(token)):
            raise invalid_request("llama.cpp can select no token with this temperature, top_p and min_p")
        return token

    def _fill(self, logits: Any) -> None:
        """Set the candidates to the adjusted scores."""
        self._candidates.fill(logits)
        if self._adjust is not None:
            self._candidates.apply(self._adjust)

    def _forbid(self, guide: Guide) -> None:
        self._candidates.forbid(guide.allowed())
        self._check()

    def _check(self) -> None:
        if self._guide is not None and self._guide.failure is not None:
            raise invalid_request(f"guided decoding stopped before the answer was complete: {self._guide.failure}")


def _adjusting_samplers(s: Sampling, vocabulary: int) -> Iterator[Any]:
    """The samplers that change scores, in the order of llama-cpp-python."""
    if s.logit_bias:
        biases = (api().llama_logit_bias * len(s.logit_bias))(*s.logit_bias.items())
        yield api().llama_sampler_init_logit_bias(vocabulary, len(s.logit_bias), biases)
    if s.frequency_penalty or s.presence_penalty or s.repetition_penalty != 1.0:
        yield api().llama_sampler_init_penalties(
            vocabulary, PENALTY_WINDOW, s.repetition_penalty, s.frequency_penalty, s.presence_penalty
        )


def _choosing_samplers(s: Sampling) -> Iterator[Any]:
    yield api().llama_sampler_init_top_k(s.top_k)
    yield api().llama_sampler_init_top_p(s.top_p, 1)
    yield api().llama_sampler_init_min_p(s.min_p, 1)
    yield api().llama_sampler_init_temp(s.temperature)
    yield api().llama_sampler_init_dist(s.seed)


def _chain(parts: Iterator[Any]) -> Any:
    """The samplers as one chain. None without samplers."""
    samplers = list(parts)
    if not samplers:
        return None
    chain = api().llama_sampler_chain_init(api().llama_sampler_chain_default_params())
    for sampler in samplers:
        api().llama_sampler_chain_add(chain, sampler)
    return chain
