"""Rows that one forward pass of a Transformers model answers together, a token each.

`generate` itself prepares everything, the cache, the masks and the processors of scores among it: its
`custom_generate` hands that over. The loop is ours, as one of theirs can be neither left nor joined nor watched.
What it does with each token is what `GenerationMixin._sample` of Transformers 5.19 does (November 2026). Their own
continuous batching (`generate_batch`) is no alternative on a processor: 32 rows of SmolLM2-135M in float32 gave 14 to
18 tokens per second of CPU time, `generate` in one batch 66 to 84.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from asyncinfer.engines.local.transformers.model import NativeModel
from asyncinfer.engines.local.transformers.row import ActiveRow, Settings

# What a row's own history rules in the same way whenever the row joined.
_MEMORYLESS = frozenset(
    {
        "RepetitionPenaltyLogitsProcessor",
        "SuppressTokensLogitsProcessor",
        "TemperatureLogitsWarper",
        "TopKLogitsWarper",
        "TopPLogitsWarper",
        "MinPLogitsWarper",
    }
)
_PER_TOKEN = ("attention_mask", "position_ids", "token_type_ids", "mm_token_type_ids")
_CACHE = "past_key_values"
# Transformers' name for the names of inputs that only the prompt's pass reads.
_ONLY_FIRST = "MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL"
# Columns of nothing but padding are worth taking out of the cache from so many on.
_WORTH_TRIMMING = 16


class _Prepared(NamedTuple):
    """What `generate` prepares before its loop."""

    ids: Any
    processors: Any
    inputs: dict[str, Any]


class Batch:
    """Each row's next token is chosen from `scores`; `advance` computes the next ones."""

    def __init__(self, model: NativeModel, rows: Sequence[ActiveRow]) -> None:
        """Reads the prompts."""
        self._model = model
        self.rows = list(rows)
        self.settings = rows[0].settings
        self.shapes = rows[0].prompt.shapes
        inputs = model.collate([row.prompt for row in rows], [row.tokens for row in rows])
        config = generation_config(model, rows)
        self._ids, self._processors, self._inputs = model.hf.generate(
            **inputs, generation_config=config, custom_generate=_hand_over
        )
        self._forward(first=True)
        self._forget_images()
        self.can_be_joined = self._can_be_joined()

    def __len__(self) -> int:
        return len(self.rows)

    def choose(self) -> list[int]:
        """Each row's next token, which becomes part of it."""
        torch = _torch()
        with torch.inference_mode():
            for place, row in enumerate(self.rows):
                if row.is_ruled:
                    row.rule(self._scores[place], row.tokens)
            scores = self._processors(self._ids, self._scores)
            tokens = scores.argmax(dim=-1) if self.settings.temperature == 0.0 else self._draw(scores)
            self._ids = torch.cat([self._ids, tokens[:, None]], dim=-1)
        return tokens.tolist()

    def advance(self) -> None:
        """Compute the scores of the tokens after those that were chosen."""
        self._forward()

    def keep(self, kept: Sequence[int]) -> None:
        """Let go of all rows but those at these places."""
        torch = _torch()
        count = len(self.rows)
        self.rows[:] = [self.rows[place] for place in kept]
        if not kept:
            return
        with torch.inference_mode():
            places = torch.tensor(kept, device=self._ids.device)
            self._ids = self._ids[places]
            self._inputs = {name: _select(name, value, places, count) for name, value in self._inputs.items()}
            self._scores = self._scores[places.to(self._scores.device)]
            if self.can_be_joined:
                self._trim()

    def takes(self, row: ActiveRow) -> bool:
        """Whether `row` can join."""
        return self.can_be_joined and row.settings == self.settings and row.prompt.shapes == self.shapes

    def join(self, other: Batch) -> None:
        """Take in the rows of `other`. Both have chosen and not advanced."""
        torch = _torch()
        with torch.inference_mode():
            width = max(self._ids.shape[1], other._ids.shape[1])
            self._widen(width)
            other._widen(width)
            self._ids = torch.cat([self._ids, other._ids])
            for name in self._inputs.keys() & set(_PER_TOKEN):
                self._inputs[name] = torch.cat([self._inputs[name], other._inputs[name]], dim=-2)
            for layer, more in zip(self._inputs[_CACHE].layers, other._inputs[_CACHE].layers, strict=True):
                layer.keys = torch.cat([layer.keys, more.keys])
                layer.values = torch.cat([layer.values, more.values])
            self._scores = torch.cat([self._scores, other._scores])
        self.rows.extend(other.rows)

    # Computing

    def _forward(self, *, first: bool = False) -> None:
        torch, hf = _torch(), self._model.hf
        with torch.inference_mode():
            new = 1 if self.settings.use_cache and not first else None
            given = hf.prepare_inputs_for_generation(
                self._ids, next_sequence_length=new, is_first_iteration=first, **self._inputs
            )
            outputs = hf(**given, return_dict=True)
            self._inputs = hf._update_model_kwargs_for_generation(outputs, self._inputs)
            self._scores = outputs.logits[:, -1].to(copy=True, dtype=torch.float32, device=self._ids.device)

    def _draw(self, scores: Any) -> Any:
        """A token for each row by its own random number, whichever rows are beside it."""
        torch = _torch()
        sums = scores.softmax(dim=-1).double().cumsum(dim=-1)
        draws = torch.tensor([[row.draw()] for row in self.rows], dtype=sums.dtype, device=sums.device)
        chosen = torch.searchsorted(sums, draws * sums[:, -1:], right=True).squeeze(1)
        return chosen.clamp(max=scores.shape[1] - 1)

    def _forget_images(self) -> None:
        """Free what only the prompt's pass reads."""
        if self.settings.use_cache:
            names: Any = getattr(import_module("transformers.generation.utils"), _ONLY_FIRST, ())
            self._inputs = {name: value for name, value in self._inputs.items() if name not in names}

    # Joining

    def _can_be_joined(self) -> bool:
        """Whether all that a row has in the batch is known to be a stretch of columns."""
        cache: Any = import_module("transformers.cache_utils")
        mine: Any = self._inputs.get(_CACHE)
        return (
            isinstance(mine, cache.DynamicCache)
            and all(type(layer) is cache.DynamicLayer for layer in mine.layers)
            and all(type(p).__name__ in _MEMORYLESS for p in self._processors)
            and all(name in _PER_TOKEN or not hasattr(value, "dim") for name, value in self._inputs.items())
        )

    def _widen(self, width: int) -> None:
        """Put columns of padding on the left, up to `width`."""
        torch = _torch()
        self._write_out()
        if not (more := width - self._ids.shape[1]):
            return
        pad: Any = torch.nn.functional.pad
        self._ids = torch.cat([self._ids[:, :1].expand(-1, more), self._ids], dim=1)
        self._change(lambda inputs: pad(inputs, (more, 0)), lambda states: pad(states, (0, 0, more, 0)))

    def _write_out(self) -> None:
        """Give each row a mask and positions, which rows without padding do without, or share."""
        if self._inputs.get("attention_mask") is None:
            self._inputs["attention_mask"] = _torch().ones_like(self._ids)
        positions = self._inputs.get("position_ids")
        if positions is not None and positions.shape[-2] != len(self.rows):
            self._inputs["position_ids"] = positions.expand(*positions.shape[:-2], len(self.rows), -1)

    def _trim(self) -> None:
        """Take out the columns on the left that are padding in every row."""
        mask = self._inputs.get("attention_mask")
        if mask is None or (spare := int((mask.cumsum(dim=-1) == 0).sum(dim=-1).min())) < _WORTH_TRIMMING:
            return
        self._ids = self._ids[:, spare:]
        self._change(lambda inputs: inputs[..., spare:], lambda states: states[..., spare:, :].contiguous())

    def _change(self, inputs: Callable[[Any], Any], states: Callable[[Any], Any]) -> None:
        """Change what has a column for each token: inputs (rows x columns), and keys and values (rows x heads x
        columns x size) of each layer.
        """
        for name in self._inputs.keys() & set(_PER_TOKEN):
            if self._inputs[name] is not None:
                self._inputs[name] = inputs(self._inputs[name])
        for layer in self._inputs[_CACHE].layers:
            layer.keys, layer.values = states(layer.keys), states(layer.values)


def generation_config(model: NativeModel, rows: Sequence[ActiveRow]) -> Any:
    """The settings of a batch as Transformers has them; what they leave open is as the model's own say."""
    settings: Settings = rows[0].settings
    sampling: dict[str, Any] = {"do_sample": False}
    if settings.temperature > 0.0:
        sampling = {
            "do_sample": True,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "min_p": settings.min_p or None,
        }
    return import_module("transformers").GenerationConfig(  # type: ignore[attr-defined]
        **sampling,
        max_new_tokens=max(row.limit - len(row.tokens) for row in rows),
        num_beams=settings.beams,
        use_cache=settings.use_cache,
        eos_token_id=sorted(model.ends.union(*(row.request.generation.stop_token_ids or () for row in rows))) or None,
        pad_token_id=model.pad,
        return_dict_in_generate=False,
    )


def _select(name: str, value: Any, places: Any, count: int) -> Any:
    """What of an input concerns the rows at `places`, of `count`."""
    if hasattr(value, "reorder_cache"):
        value.reorder_cache(places)
        return value
    if not hasattr(value, "index_select"):
        return value
    rows = -2 if name == "position_ids" else 0
    return value.index_select(rows, places.to(value.device)) if value.shape[rows] == count else value


def _torch() -> Any:
    return import_module("torch")


def _hand_over(
    model: Any, input_ids: Any, logits_processor: Any, stopping_criteria: Any, generation_config: Any, **inputs: Any
) -> _Prepared:
    """Stands in for a decoding loop of `generate`."""
    return _Prepared(input_ids, logits_processor, inputs)
