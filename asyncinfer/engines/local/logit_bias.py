"""What a row asks of single tokens, for models that run in this process."""

from __future__ import annotations

from asyncinfer.config import GenerationParams
from asyncinfer.errors import invalid_request


def biases(generation: GenerationParams, vocabulary: int | None = None) -> dict[int, float]:
    """What is added to the logits, by token id, of a model with so many tokens.

    Raises:
        RequestError: a key is no token id, or beyond the vocabulary, where that is given.
    """
    try:
        asked = {int(token): float(bias) for token, bias in generation.logit_bias.items()}
    except ValueError as error:
        raise invalid_request(f"generation.logit_bias: its keys are token ids: {error}") from error
    if vocabulary is not None and (strange := [token for token in asked if not 0 <= token < vocabulary]):
        raise invalid_request(f"generation.logit_bias: token ids go from 0 to {vocabulary - 1}, not {strange}")
    return asked
