"""llama.cpp's context: sequences side by side, evaluated in batches."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from asyncinfer.engines.local.llama_cpp.compat import api, complaints


class Part(NamedTuple):
    """The next tokens of a sequence, which has `start` already. `scores`: the last one's are wanted."""

    sequence: int
    start: int
    tokens: Sequence[int]
    scores: bool


class LlamaContext:
    """Sequences, each with room for `params.n_ctx / params.n_seq_max` tokens.

    By default each has cells of its own, because then a row is computed as if it were alone: its attention reads
    its own cells, always from the first, and so rounds alike whatever the others are. A row costs what it would
    alone, and a sequence that rests costs nothing. The price is that a shared prefix is copied instead of shared.
    In one pool (`params.kv_unified`) it is shared, which is quicker for rows with a long prefix in common and
    slower for long rows without; where a row's cells lie then changes the rounding.
    """

    def __init__(self, model: Any, params: Any, vocabulary: int) -> None:
        """Raises MemoryError when llama.cpp cannot make it."""
        self._as_array: Any = import_module("numpy").ctypeslib.as_array
        self._vocabulary = vocabulary
        self._unified: bool = params.kv_unified
        self.ctx: Any = api().llama_init_from_model(model, params)
        if self.ctx is None:
            raise MemoryError(complaints() or "llama.cpp made no context")
        self._memory = api().llama_get_memory(self.ctx)
        if self._memory is None:
            self.close()
            raise MemoryError("this kind of model remembers nothing of a conversation")
        self.batch_size: int = params.n_batch
        self._batch = _Batch(params.n_batch)

    def evaluate(self, parts: Sequence[Part]) -> list[Any]:
        """Evaluate the parts; the scores of those that want them, in order. They are valid until the next call.

        Parts of one length are computed together, if their sequences are neighbours by number; a gap between them
        costs another pass over the weights. Of parts of several lengths llama.cpp would take as many tokens as the
        shortest has first, so that a prompt's next token were computed alone beside a row that writes, and rounded
        otherwise; to part them takes it no more passes.
        """
        lengths = {0 if self._unified else len(part.tokens) for part in parts}
        scores: dict[int, Any] = {}
        for length in sorted(lengths):
            wanted = self._decode([part for part in parts if self._unified or len(part.tokens) == length])
            for sequence, index in wanted.items():
                found = self._scores(index)
                scores[sequence] = found.copy() if len(lengths) > 1 else found
        return [scores[part.sequence] for part in parts if part.scores]

    def cut(self, sequence: int, length: int) -> int:
        """Keep the first `length` tokens of a sequence, if this kind of model can; how many are kept."""
        kept = length > 0 and api().llama_memory_seq_rm(self._memory, sequence, length, -1)
        # With a sliding window the beginning may be gone.
        if kept and api().llama_memory_seq_pos_min(self._memory, sequence) == 0:
            return length
        api().llama_memory_seq_rm(self._memory, sequence, -1, -1)
        return 0

    def copy(self, source: int, target: int) -> None:
        """Make `target` hold what `source` holds."""
        api().llama_memory_seq_rm(self._memory, target, -1, -1)
        api().llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def close(self) -> None:
        if self.ctx is not None:
            api().llama_free(self.ctx)
        self.ctx = None

    def _decode(self, parts: Sequence[Part]) -> dict[int, int]:
        wanted = self._batch.fill(sorted(parts))
        code = api().llama_decode(self.ctx, self._batch.struct)
        if code:
            raise RuntimeError(f"llama.cpp could not evaluate a batch (code {code}): {complaints()}")
        return wanted

    def _scores(self, index: int) -> Any:
        return self._as_array(api().llama_get_logits_ith(self.ctx, index), shape=(self._vocabulary,))


class _Batch:
    """The arrays behind a llama_batch."""

    def __init__(self, size: int) -> None:
        self._tokens, self._positions, self._sequences = ((ctypes.c_int32 * size)() for _ in range(3))
        self._wanted = (ctypes.c_int8 * size)()
        self._counts = (ctypes.c_int32 * size)(*[1] * size)
        integers = ctypes.POINTER(ctypes.c_int32)
        first, width = ctypes.addressof(self._sequences), ctypes.sizeof(ctypes.c_int32)
        self._pointers = (integers * size)(*(ctypes.cast(first + width * i, integers) for i in range(size)))
        self.struct: Any = api().llama_batch(
            token=ctypes.cast(self._tokens, integers),
            pos=ctypes.cast(self._positions, integers),
            n_seq_id=ctypes.cast(self._counts, integers),
            seq_id=ctypes.cast(self._pointers, ctypes.POINTER(integers)),
            logits=ctypes.cast(self._wanted, ctypes.POINTER(ctypes.c_int8)),
        )

    def fill(self, parts: Sequence[Part]) -> dict[int, int]:
        """Write the parts; by sequence, the index of the token whose scores are wanted."""
        at, wanted = 0, dict[int, int]()
        for sequence, start, tokens, scores in parts:
            end = at + len(tokens)
            self._tokens[at:end] = tokens
            self._positions[at:end] = range(start, start + len(tokens))
            self._sequences[at:end] = [sequence] * len(tokens)
            self._wanted[at:end] = [0] * len(tokens)
            if scores:
                self._wanted[end - 1], wanted[sequence] = 1, end - 1
            at = end
        self.struct.n_tokens = at
        return wanted
