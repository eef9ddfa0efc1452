"""A loaded Transformers model: makes prompts and input tensors, and estimates memory."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from asyncinfer.engines.local.images import decode_image, image_bytes
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.resources import UNKNOWN_MEMORY, free_memory
from asyncinfer.engines.local.structured.guide import GuideFactory
from asyncinfer.engines.local.tokenizer_renderer import TokenizerRenderer, default_template, has_template
from asyncinfer.engines.local.transformers.compat import compile_template
from asyncinfer.engines.local.transformers.load import LoadedModel
from asyncinfer.errors import ConfigError, invalid_request

# The part of the free memory for the keys and values of a batch. While they grow, one layer is in memory twice.
MEMORY_SHARE = 0.5
MAX_ROWS = 64
_DEFAULT_CONTEXT = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """The prompt of one row.

    Args:
        extras: The inputs of the model besides tokens, by name, such as the pixels of images.
        shapes: The shapes of `extras`. Rows with equal shapes fit into one tensor.
    """

    tokens: list[int]
    extras: dict[str, Any] = field(default_factory=dict[str, Any])
    shapes: tuple[Any, ...] = ()


class TransformersModel:
    """A loaded model with its tokenizer and processor.

    Args:
        may_use_default_template: Whether a model without a chat template of its own gets a default one.
    """

    def __init__(self, loaded: LoadedModel, *, may_use_default_template: bool = True) -> None:
        self.hf: Any = loaded.model
        self.tokenizer: Any = loaded.tokenizer
        self._processor: Any = loaded.processor
        self._text: Any = self.hf.config.get_text_config(decoder=True)
        self.trained_context: int = getattr(self._text, "max_position_embeddings", None) or _DEFAULT_CONTEXT
        self.context: int = loaded.max_length or self.trained_context
        self.vocabulary: int = self._text.vocab_size
        self.end_tokens = frozenset(_ids(self.hf.generation_config.eos_token_id) + _ids(self.tokenizer.eos_token_id))
        self.pad_token: int = _first(self.tokenizer.pad_token_id, *self.end_tokens, 0)
        default: str | None = None
        if may_use_default_template and not has_template(self.tokenizer, self._processor):
            default = default_template(getattr(self.hf.config, "model_type", ""))
        self._renderer = TokenizerRenderer(self.tokenizer, self._processor, default=default)
        self.guides = GuideFactory(self._guide_tokenizer, self.vocabulary, self.end_tokens)

    @property
    def device(self) -> Any:
        return self.hf.device

    def _guide_tokenizer(self) -> Any:
        from_tokenizer: Any = import_module("llguidance.hf").from_tokenizer
        return from_tokenizer(self.tokenizer, n_vocab=self.vocabulary, eos_token=sorted(self.end_tokens))

    # Prompts

    def prompt(self, request: Request) -> Prompt:
        """The prompt of a row.

        Raises:
            RequestError: The template, the processor or the context does not support this conversation.
        """
        prompt = self._encode(self._renderer(request), image_bytes(request.conversation))
        if not prompt.tokens:
            raise invalid_request("the chat template renders this conversation to nothing")
        if len(prompt.tokens) >= self.context:
            raise invalid_request(
                f"the prompt has {len(prompt.tokens)} tokens, the context holds {self.context}. Shorten it, or raise "
                f"model.model_max_length (the model was trained with {self.trained_context})"
            )
        return prompt

    def check_template(self, template: str) -> None:
        """Raise a ConfigError if `template` is not valid Jinja."""
        jinja: Any = import_module("jinja2")
        try:
            compile_template(template)
        except jinja.TemplateSyntaxError as error:
            raise ConfigError(f"model.chat_template: not a valid Jinja template: {error}") from error

    def _encode(self, text: str, images: Sequence[bytes]) -> Prompt:
        """The prompt of a rendered text. The template has written all special tokens. If it has left out the first one,
        the processor adds it, as in Transformers.
        """
        if self._processor is None:
            return Prompt(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        pictures = [decode_image(data) for data in images]
        first = self.tokenizer.bos_token
        try:
            inputs = self._processor(
                text=[text],
                images=[pictures] if pictures else None,
                return_tensors="pt",
                add_special_tokens=first is None or not text.startswith(first),
            )
        except Exception as error:
            raise invalid_request(f"the model's processor rejects this conversation: {error}") from error
        extras = {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask")}
        tokens: list[int] = inputs["input_ids"][0].tolist()
        return Prompt(tokens, extras, _shapes(extras, len(tokens)))

    # Batches

    def collate(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[int]]) -> dict[str, Any]:
        """The inputs of rows with equal shapes, padded on the left.

        Args:
            answers: The tokens that already follow each prompt.
        """
        torch: Any = import_module("torch")
        rows = [[*prompt.tokens, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
        width = max(map(len, rows))
        ids = [[self._padding(row)] * (width - len(row)) + row for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        inputs: dict[str, Any] = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
        for name in prompts[0].extras:
            parts = [self._extra(name, prompt, len(row), width) for prompt, row in zip(prompts, rows, strict=True)]
            inputs[name] = torch.cat(parts, dim=0) if hasattr(parts[0], "shape") else parts[0]
        return {name: value.to(self.device) if hasattr(value, "to") else value for name, value in inputs.items()}

    def _padding(self, row: list[int]) -> int:
        # A token of the row itself, because repetition penalties count padding too. In a vision model, the token of an
        # image would count as an image.
        return row[0] if self._processor is None else self.pad_token

    def _extra(self, name: str, prompt: Prompt, length: int, width: int) -> Any:
        torch: Any = import_module("torch")
        value = prompt.extras[name]
        if not _is_per_token(value, len(prompt.tokens)):
            return value.to(self.hf.dtype) if hasattr(value, "dtype") and value.dtype.is_floating_point else value
        return torch.nn.functional.pad(value, (width - length, length - len(prompt.tokens)))

    # Memory

    def rows_in_memory(self, tokens: int) -> int:
        """How many rows of this many tokens fit into the memory at once."""
        return max(1, min(MAX_ROWS, int(MEMORY_SHARE * self._free_memory()) // self._bytes(tokens)))

    def fits_in_memory(self, beams: int, tokens: int) -> bool:
        """Whether a prompt of this many tokens and the scores of its next token fit into the memory, for each beam."""
        scores = 4 * 4 * self.vocabulary  # float32, and about three copies.
        return beams * (self._bytes(tokens) + scores) <= self._free_memory()

    def _bytes(self, tokens: int) -> int:
        """The bytes that the keys and values of this many tokens take."""
        layers, heads = self._text.num_hidden_layers, self._text.num_attention_heads
        key_heads = getattr(self._text, "num_key_value_heads", None) or heads
        size = getattr(self._text, "head_dim", None) or self._text.hidden_size // heads
        return 2 * layers * key_heads * size * self.hf.dtype.itemsize * tokens

    def _free_memory(self) -> int:
        torch: Any = import_module("torch")
        if self.device.type == "cuda":
            cached = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
            return torch.cuda.mem_get_info(self.device)[0] + cached
        return free_memory() or UNKNOWN_MEMORY

    def close(self) -> None:
        """Free the memory."""
        torch: Any = import_module("torch")
        on_gpu = self.device.type == "cuda"
        model = weakref.ref(self.hf)
        self.hf = self._processor = None
        if model() is not None:
            gc.collect()  # Only if needed: it stops every thread, for about 0.2 s after the imports of Transformers.
        if on_gpu:
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory was missing, on any device."""
    torch: Any = import_module("torch")
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def _is_per_token(value: Any, length: int) -> bool:
    """Whether `value` holds one integer for each token (1 x tokens)."""
    shape = getattr(value, "shape", None)
    return shape is not None and len(shape) == 2 and tuple(shape) == (1, length) and not value.dtype.is_floating_point


def _shapes(extras: dict[str, Any], length: int) -> tuple[Any, ...]:
    return tuple(
        (name, None if _is_per_token(value, length) else tuple(getattr(value, "shape", ())[1:]))
        for name, value in sorted(extras.items())
    )


def _ids(ids: int | list[int] | None) -> list[int]:
    if ids is None:
        return []
    return list(ids) if isinstance(ids, list) else [ids]


def _first(*numbers: int | None) -> int:
    return next(number for number in numbers if number is not None)
