"""`generation.logit_bias` for local models."""

from __future__ import annotations

from asyncinfer.config import GenerationParams
from asyncinfer.errors import invalid_request


def token_biases(generation: GenerationParams, vocabulary: int | None = None) -> dict[int, float]:
    """The numbers to add to the logits, by token id.

    Args:
        vocabulary: The number of tokens of the model, to check the ids; None to accept any id.

    Raises:
        RequestError: A key is not a token id, or not in the vocabulary.
    """
    try:
        biases = {int(token): float(bias) for token, bias in generation.logit_bias.items()}
    except ValueError as error:
        raise invalid_request(f"generation.logit_bias: its keys are token ids: {error}") from error
    if vocabulary is not None and (unknown := [token for token in biases if not 0 <= token < vocabulary]):
        raise invalid_request(f"generation.logit_bias: token ids go from 0 to {vocabulary - 1}, not {unknown}")
    return biases
