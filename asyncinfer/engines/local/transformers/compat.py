"""Every access to what is not public API of Transformers.

Checked on Transformers 5.19 and torch 2.13 (November 2026). Of torch, only public API is used. The layers of a cache
and the arguments of a `custom_generate` function are documented by example only, so they are here too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import Any, NamedTuple

# The classes of logits processors whose result for a row depends only on the tokens of this row. A row may then join a
# batch that is in progress.
_PER_ROW_PROCESSORS = frozenset(
    {
        "RepetitionPenaltyLogitsProcessor",
        "SuppressTokensLogitsProcessor",
        "TemperatureLogitsWarper",
        "TopKLogitsWarper",
        "TopPLogitsWarper",
        "MinPLogitsWarper",
    }
)
CACHE = "past_key_values"


class GenerationState(NamedTuple):
    """What `generate` prepares before its loop: token ids (rows x columns), logits processors, and model inputs."""

    ids: Any
    processors: Any
    inputs: dict[str, Any]


def prepare_generation(model: Any, inputs: Mapping[str, Any], config: Any) -> GenerationState:
    """Let `generate` prepare the cache, the masks and the logits processors, without running its loop.

    `custom_generate` accepts a function in place of the loop (`GenerationMixin.generate`, `custom_generate`).
    """
    return model.generate(**inputs, generation_config=config, custom_generate=_return_state)


def forward(
    model: Any, ids: Any, inputs: dict[str, Any], *, new_tokens: int | None, is_first: bool
) -> tuple[Any, dict[str, Any]]:
    """One forward pass, as in the loop of `generate` (`GenerationMixin._sample`).

    Args:
        new_tokens: How many tokens at the end are not in the cache; None to compute all of them.

    Returns:
        The logits after the last token (rows x vocabulary), and the inputs of the next pass.
    """
    prepared = model.prepare_inputs_for_generation(
        ids, next_sequence_length=new_tokens, is_first_iteration=is_first, **inputs
    )
    outputs = model(**prepared, return_dict=True)
    return outputs.logits[:, -1], model._update_model_kwargs_for_generation(outputs, inputs)


def prompt_only_inputs() -> Collection[str]:
    """The names of inputs that only the pass over the prompt reads, such as pixels. Empty if there is no list."""
    generation: Any = import_module("transformers.generation.utils")
    return getattr(generation, "MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL", ())


def can_join_cache(cache: Any) -> bool:
    """Whether all layers of a cache are plain tensors with one column for each token."""
    classes: Any = import_module("transformers.cache_utils")
    return isinstance(cache, classes.DynamicCache) and all(
        type(layer) is classes.DynamicLayer for layer in cache.layers
    )


def are_per_row(processors: Any) -> bool:
    """Whether the result of all logits processors for a row depends only on the tokens of this row."""
    return all(type(processor).__name__ in _PER_ROW_PROCESSORS for processor in processors)


def join_caches(cache: Any, other: Any) -> None:
    """Append the rows of `other` to `cache`, in place. Both must have the same number of columns."""
    torch: Any = import_module("torch")
    for layer, added in zip(cache.layers, other.layers, strict=True):
        layer.keys = torch.cat([layer.keys, added.keys])
        layer.values = torch.cat([layer.values, added.values])


def change_cache(cache: Any, change: Callable[[Any], Any]) -> None:
    """Replace the keys and values of each layer (rows x heads x columns x size) by `change` of them."""
    for layer in cache.layers:
        layer.keys, layer.values = change(layer.keys), change(layer.values)


def unsplittable_modules(model: Any) -> list[str]:
    """The class names of modules that must be on one device as a whole."""
    return list(model._no_split_modules or ())


def compile_template(template: str) -> None:
    """Compile a chat template as `apply_chat_template` does, for its syntax errors."""
    import_module("transformers.utils.chat_template_utils")._compile_jinja_template(template)  # type: ignore[attr-defined]


def _return_state(
    model: Any, input_ids: Any, logits_processor: Any, stopping_criteria: Any, generation_config: Any, **inputs: Any
) -> GenerationState:
    """Stands in for the loop of `generate`."""
    return GenerationState(input_ids, logits_processor, inputs)
