"""The parameters that Converse passes to a model unchanged, in `additionalModelRequestFields`.

Sources: the Bedrock user guide's "Inference request parameters" of Claude, Nova ("Complete request schema", and "Core
inference" and "Extended thinking" of Nova 2) and OpenAI's models. A secondary source, which agrees with them: LiteLLM
1.110. All read in November 2026.
"""

from __future__ import annotations

from typing import Any

from asyncinfer.config import GenerationParams

Json = dict[str, Any]


def model_fields(model: str, generation: GenerationParams, top_k: float | None) -> tuple[Json, frozenset[str]]:
    """Return the fields for `top_k` and `reasoning_effort`, and which of these the model is not known to have.

    Args:
        top_k: The value to send, if the model accepts it.
    """
    effort = generation.reasoning_effort
    found = (_top_k(model, top_k) if top_k is not None else {}, _effort(model, effort) if effort is not None else {})
    unknown = [name for name, fields in zip(("top_k", "reasoning_effort"), found, strict=True) if fields is None]
    fields: Json = {}
    for each in found:
        fields |= each or {}
    return fields, frozenset(unknown)


def _top_k(model: str, top_k: float) -> Json | None:
    if "anthropic" in model or "claude" in model:
        return {"top_k": top_k}
    return {"inferenceConfig": {"topK": top_k}} if "nova" in model else None


def _effort(model: str, effort: str) -> Json | None:
    if "gpt-oss" in model:
        return {"reasoning_effort": effort}
    if "anthropic" in model or "claude" in model:
        return {"output_config": {"effort": effort}}
    if "nova-2" not in model:
        return None
    if effort == "none":
        return {"reasoningConfig": {"type": "disabled"}}
    return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}}
