"""Whether the Transformers engine samples. Only `use_sampling` decides, as in Oumi and in `model.generate`."""

from __future__ import annotations

from asyncinfer.config import GenerationParams


def sampling_in_effect(generation: GenerationParams) -> GenerationParams:
    """The settings with the temperature in effect: 0 without `use_sampling`. With it, null and 0 become 1."""
    temperature = (generation.temperature or 1.0) if generation.use_sampling else 0.0
    return generation.model_copy(update={"temperature": temperature})


def unused_without_sampling(generation: GenerationParams) -> frozenset[str]:
    """The names of the settings that have no effect because `use_sampling` is not set."""
    if generation.use_sampling:
        return frozenset()
    set_values = {name: getattr(generation, name) for name in ("temperature", "top_p", "top_k", "min_p")}
    return frozenset(name for name, value in set_values.items() if value)
