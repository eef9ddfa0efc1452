"""A llama.cpp context: several sequences that are evaluated in batches."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from asyncinfer.engines.local.llama_cpp.compat import api, recent_errors


class Part(NamedTuple):
    """The next tokens of a sequence.

    Args:
        start: How many tokens the sequence holds already.
        needs_scores: Whether the scores after the last token are needed.
    """

    sequence: int
    start: int
    tokens: Sequence[int]
    needs_scores: bool


class LlamaContext:
    """Several sequences, each with room for `params.n_ctx / params.n_seq_max` tokens.

    By default, each sequence has its own cells. A row is then computed as if it were alone: its attention reads only
    its own cells, always from the first one, so it rounds alike whatever the other rows are. A row costs as much as it
    would alone, and a free sequence costs nothing. The disadvantage: a common prefix is copied instead of shared.

    With one pool of cells (`params.kv_unified`), a common prefix is shared. This is faster for rows with a long common
    prefix, and slower for long rows without. The position of a row's cells then changes the rounding.
    """

    def __init__(self, model: Any, params: Any, vocabulary: int) -> None:
        """
        Raises:
            MemoryError: llama.cpp cannot create the context.
        """
        self._as_array: Any = import_module("numpy").ctypeslib.as_array
        self._vocabulary = vocabulary
        self._unified: bool = params.kv_unified
        self.ctx: Any = api().llama_init_from_model(model, params)
        if self.ctx is None:
            raise MemoryError(recent_errors() or "llama.cpp created no context")
        self._memory = api().llama_get_memory(self.ctx)
        if self._memory is None:
            self.close()
            raise MemoryError("this kind of model keeps no state of a conversation")
        self.batch_size: int = params.n_batch
        self._batch = _Batch(params.n_batch)

    def evaluate(self, parts: Sequence[Part]) -> list[Any]:
        """Evaluate the parts.

        Parts of equal length are computed together if the numbers of their sequences are adjacent. A gap costs another
        pass over the weights. Parts of different lengths are evaluated separately. llama.cpp would otherwise first take
        as many tokens of each part as the shortest one has. Next to a row that generates, it would then compute one
        token of a prompt alone, which rounds differently. Separating the parts costs no additional passes.

        Returns:
            The scores of the parts that need them, in order. They are valid until the next call.
        """
        lengths = {0 if self._unified else len(part.tokens) for part in parts}
        scores: dict[int, Any] = {}
        for length in sorted(lengths):
            indexes = self._decode([part for part in parts if self._unified or len(part.tokens) == length])
            for sequence, index in indexes.items():
                row = self._scores(index)
                scores[sequence] = row.copy() if len(lengths) > 1 else row
        return [scores[part.sequence] for part in parts if part.needs_scores]

    def truncate(self, sequence: int, length: int) -> int:
        """Keep the first `length` tokens of a sequence. Returns how many are kept: 0 if this kind of model cannot."""
        kept = length > 0 and api().llama_memory_seq_rm(self._memory, sequence, length, -1)
        # With a sliding window, the beginning may be lost.
        if kept and api().llama_memory_seq_pos_min(self._memory, sequence) == 0:
            return length
        api().llama_memory_seq_rm(self._memory, sequence, -1, -1)
        return 0

    def copy(self, source: int, target: int) -> None:
        """Replace the content of `target` by that of `source`."""
        api().llama_memory_seq_rm(self._memory, target, -1, -1)
        api().llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def close(self) -> None:
        if self.ctx is not None:
            api().llama_free(self.ctx)
        self.ctx = None

    def _decode(self, parts: Sequence[Part]) -> dict[int, int]:
        indexes = self._batch.fill(sorted(parts))
        code = api().llama_decode(self.ctx, self._batch.struct)
        if code:
            raise RuntimeError(f"llama.cpp could not evaluate a batch (code {code}): {recent_errors()}")
        return indexes

    def _scores(self, index: int) -> Any:
        return self._as_array(api().llama_get_logits_ith(self.ctx, index), shape=(self._vocabulary,))


class _Batch:
    """A `llama_batch` and its arrays."""

    def __init__(self, size: int) -> None:
        self._tokens, self._positions, self._sequences = ((ctypes.c_int32 * size)() for _ in range(3))
        self._needs_scores = (ctypes.c_int8 * size)()
        self._counts = (ctypes.c_int32 * size)(*[1] * size)
        integers = ctypes.POINTER(ctypes.c_int32)
        first, width = ctypes.addressof(self._sequences), ctypes.sizeof(ctypes.c_int32)
        self._pointers = (integers * size)(*(ctypes.cast(first + width * i, integers) for i in range(size)))
        self.struct: Any = api().llama_batch(
            token=ctypes.cast(self._tokens, integers),
            pos=ctypes.cast(self._positions, integers),
            n_seq_id=ctypes.cast(self._counts, integers),
            seq_id=ctypes.cast(self._pointers, ctypes.POINTER(integers)),
            logits=ctypes.cast(self._needs_scores, ctypes.POINTER(ctypes.c_int8)),
        )

    def fill(self, parts: Sequence[Part]) -> dict[int, int]:
        """Write the parts. Returns the index in the batch of each token whose scores are needed, by sequence."""
        at, indexes = 0, dict[int, int]()
        for sequence, start, tokens, needs_scores in parts:
            end = at + len(tokens)
            self._tokens[at:end] = tokens
            self._positions[at:end] = range(start, start + len(tokens))
            self._sequences[at:end] = [sequence] * len(tokens)
            self._needs_scores[at:end] = [0] * len(tokens)
            if needs_scores:
                self._needs_scores[end - 1], indexes[sequence] = 1, end - 1
            at = end
        self.struct.n_tokens = at
        return indexes
