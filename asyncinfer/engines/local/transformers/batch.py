"""Rows that a Transformers model answers together: one forward pass computes one token for each of them.

The model's `generate` prepares everything before its loop: the cache, the masks and the logits processors. The loop is
here, because rows cannot leave or join the loop of `generate`, and nothing can watch it. For each token it does what
`GenerationMixin._sample` of Transformers 5.19 does (November 2026).

The continuous batching of Transformers (`generate_batch`) was slower on a processor: 32 rows of SmolLM2-135M in float32
gave 14 to 18 tokens per second of CPU time, `generate` in one batch 66 to 84.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from asyncinfer.engines.local.transformers import compat
from asyncinfer.engines.local.transformers.compat import CACHE
from asyncinfer.engines.local.transformers.model import TransformersModel
from asyncinfer.engines.local.transformers.row import ActiveRow, BatchSettings

# Inputs with one column for each token.
_PER_TOKEN = ("attention_mask", "position_ids", "token_type_ids", "mm_token_type_ids")
# At least this many columns of padding are worth removing from the cache.
_MIN_TRIMMED = 16


class Batch:
    """Rows in progress. `sample` chooses the next token of each row from the scores; `advance` computes new scores."""

    def __init__(self, model: TransformersModel, rows: Sequence[ActiveRow]) -> None:
        """Evaluates the prompts."""
        self._model = model
        self.rows = list(rows)
        self.settings = rows[0].settings
        self.shapes = rows[0].prompt.shapes
        inputs = model.collate([row.prompt for row in rows], [row.tokens for row in rows])
        config = generation_config(model, rows)
        self._ids, self._processors, self._inputs = compat.prepare_generation(model.hf, inputs, config)
        self._forward(is_first=True)
        self._drop_images()
        self.can_be_joined = self._can_be_joined()

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self) -> list[int]:
        """Choose the next token of each row and append it."""
        torch = _torch()
        with torch.inference_mode():
            for index, row in enumerate(self.rows):
                if row.wants_logprobs:
                    row.keep_scores(self._scores[index])
                if row.adjusts_scores:
                    row.adjust_scores(self._scores[index], row.tokens)
            scores = self._processors(self._ids, self._scores)
            tokens = scores.argmax(dim=-1) if self.settings.temperature == 0.0 else self._draw(scores)
            self._ids = torch.cat([self._ids, tokens[:, None]], dim=-1)
        return tokens.tolist()

    def advance(self) -> None:
        """Compute the scores after the chosen tokens."""
        self._forward()

    def keep(self, indexes: Sequence[int]) -> None:
        """Remove all rows except those at these indexes."""
        torch = _torch()
        count = len(self.rows)
        self.rows[:] = [self.rows[index] for index in indexes]
        if not indexes:
            return
        with torch.inference_mode():
            kept = torch.tensor(indexes, device=self._ids.device)
            self._ids = self._ids[kept]
            self._inputs = {name: _select_rows(name, value, kept, count) for name, value in self._inputs.items()}
            self._scores = self._scores[kept.to(self._scores.device)]
            if self.can_be_joined:
                self._trim()

    def accepts(self, row: ActiveRow) -> bool:
        """Whether `row` can join."""
        return self.can_be_joined and row.settings == self.settings and row.prompt.shapes == self.shapes

    def join(self, other: Batch) -> None:
        """Take over the rows of `other`. Both batches must have called `sample`, and not `advance` after it."""
        torch = _torch()
        with torch.inference_mode():
            width = max(self._ids.shape[1], other._ids.shape[1])
            self._widen(width)
            other._widen(width)
            self._ids = torch.cat([self._ids, other._ids])
            for name in self._inputs.keys() & set(_PER_TOKEN):
                self._inputs[name] = torch.cat([self._inputs[name], other._inputs[name]], dim=-2)
            compat.join_caches(self._inputs[CACHE], other._inputs[CACHE])
            self._scores = torch.cat([self._scores, other._scores])
        self.rows.extend(other.rows)

    # Computing

    def _forward(self, *, is_first: bool = False) -> None:
        torch = _torch()
        with torch.inference_mode():
            new_tokens = 1 if self.settings.use_cache and not is_first else None
            logits, self._inputs = compat.forward(
                self._model.hf, self._ids, self._inputs, new_tokens=new_tokens, is_first=is_first
            )
            self._scores = logits.to(copy=True, dtype=torch.float32, device=self._ids.device)

    def _draw(self, scores: Any) -> Any:
        """Sample a token for each row with the row's own random number, so that other rows have no influence."""
        torch = _torch()
        sums = scores.softmax(dim=-1).double().cumsum(dim=-1)
        draws = torch.tensor([[row.draw()] for row in self.rows], dtype=sums.dtype, device=sums.device)
        chosen = torch.searchsorted(sums, draws * sums[:, -1:], right=True).squeeze(1)
        return chosen.clamp(max=scores.shape[1] - 1)

    def _drop_images(self) -> None:
        """Free the inputs that only the pass over the prompt reads."""
        if self.settings.use_cache:
            dropped = compat.prompt_only_inputs()
            self._inputs = {name: value for name, value in self._inputs.items() if name not in dropped}

    # Joining

    def _can_be_joined(self) -> bool:
        """Whether the state of a row is known to be a range of columns in each tensor."""
        return (
            compat.can_join_cache(self._inputs.get(CACHE))
            and compat.are_per_row(self._processors)
            and all(name in _PER_TOKEN or not hasattr(value, "dim") for name, value in self._inputs.items())
        )

    def _widen(self, width: int) -> None:
        """Add columns of padding on the left, up to `width`."""
        torch = _torch()
        self._expand_inputs()
        if not (more := width - self._ids.shape[1]):
            return
        pad: Any = torch.nn.functional.pad
        self._ids = torch.cat([self._ids[:, :1].expand(-1, more), self._ids], dim=1)
        self._change_columns(lambda inputs: pad(inputs, (more, 0)), lambda states: pad(states, (0, 0, more, 0)))

    def _expand_inputs(self) -> None:
        """Give each row its own mask and positions. Without padding, rows have no mask, or share positions."""
        if self._inputs.get("attention_mask") is None:
            self._inputs["attention_mask"] = _torch().ones_like(self._ids)
        positions = self._inputs.get("position_ids")
        if positions is not None and positions.shape[-2] != len(self.rows):
            self._inputs["position_ids"] = positions.expand(*positions.shape[:-2], len(self.rows), -1)

    def _trim(self) -> None:
        """Remove the columns on the left that are padding in every row."""
        mask = self._inputs.get("attention_mask")
        if mask is None or (unused := int((mask.cumsum(dim=-1) == 0).sum(dim=-1).min())) < _MIN_TRIMMED:
            return
        self._ids = self._ids[:, unused:]
        self._change_columns(lambda inputs: inputs[..., unused:], lambda states: states[..., unused:, :].contiguous())

    def _change_columns(self, change_inputs: Callable[[Any], Any], change_states: Callable[[Any], Any]) -> None:
        """Change everything with a column for each token: inputs (rows x columns), and the keys and values of each
        layer (rows x heads x columns x size).
        """
        for name in self._inputs.keys() & set(_PER_TOKEN):
            if self._inputs[name] is not None:
                self._inputs[name] = change_inputs(self._inputs[name])
        compat.change_cache(self._inputs[CACHE], change_states)


def generation_config(model: TransformersModel, rows: Sequence[ActiveRow]) -> Any:
    """The settings of a batch as a `GenerationConfig`. Transformers fills in the rest from the model's own settings."""
    settings: BatchSettings = rows[0].settings
    sampling: dict[str, Any] = {"do_sample": False}
    if settings.temperature > 0.0:
        sampling = {
            "do_sample": True,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "min_p": settings.min_p or None,
        }
        if settings.top_k is not None:
            sampling["top_k"] = settings.top_k
    if settings.repetition_penalty != 1.0:
        sampling["repetition_penalty"] = settings.repetition_penalty
    ends = model.end_tokens.union(*(row.request.generation.stop_token_ids or () for row in rows))
    return import_module("transformers").GenerationConfig(  # type: ignore[attr-defined]
        **sampling,
        max_new_tokens=max(row.limit - len(row.tokens) for row in rows),
        num_beams=settings.beams,
        use_cache=settings.use_cache,
        eos_token_id=sorted(ends) or None,
        pad_token_id=model.pad_token,
        return_dict_in_generate=False,
    )


def _select_rows(name: str, value: Any, indexes: Any, count: int) -> Any:
    """The part of an input that belongs to the rows at `indexes`, of `count` rows."""
    if hasattr(value, "reorder_cache"):
        value.reorder_cache(indexes)
        return value
    if not hasattr(value, "index_select"):
        return value
    dimension = -2 if name == "position_ids" else 0
    return value.index_select(dimension, indexes.to(value.device)) if value.shape[dimension] == count else value


def _torch() -> Any:
    return import_module("torch")
