"""Which model runs, and how it is loaded."""

from __future__ import annotations

from typing import Annotated, Any, cast

from pydantic import AliasChoices, BeforeValidator, Field, model_validator

from asyncinfer.config.base import Count, Params, PathText

_DTYPES = {
    "f32": "float32",
    "float": "float32",
    "f16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
    "f64": "float64",
    "double": "float64",
}
_KNOWN = frozenset({"auto", "uint8", *_DTYPES.values()})
# What Transformers takes as an option and has a key of its own here, by the kinds of value that the key takes.
_KINDS: dict[str, type | tuple[type, ...]] = {
    "attn_implementation": str,
    "device_map": (str, type(None)),
    "revision": object,
    "torch_dtype": object,
    "trust_remote_code": bool,
}
_KEYS = {"revision": "model_revision", "torch_dtype": "torch_dtype_str"}


def _dtype(value: Any) -> str:
    """The full name of a dtype, from any of its names or from torch's own object."""
    name = str(value).lower().removeprefix("torch.")
    known = _DTYPES.get(name, name)
    if known not in _KNOWN:
        raise ValueError(f"should be one of {', '.join(sorted(_KNOWN | _DTYPES.keys()))}")
    return known


class ModelParams(Params):
    """The model and how to load it. Engines take what concerns them; some fields matter in training only."""

    model_name: PathText = ""
    """A hub repository id, a path, a provider's model name, or `pkg:package/file` for a model in a package."""
    adapter_model: PathText | None = None
    """A LoRA adapter to apply on top."""
    tokenizer_name: PathText | None = None
    """Another tokenizer than the model's."""
    tokenizer_pad_token: str | None = None
    """Another padding token than the tokenizer's."""
    tokenizer_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Passed to the tokenizer's constructor."""
    processor_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Passed to the constructor of the processor of images."""
    max_image_pixels: Count = 64_000_000
    """The most pixels (width times height) of one image, for models in this process. All images of a conversation
    together may have four times as many."""
    allow_private_urls: bool = False
    """Allow image URLs that lead to addresses that are not public (loopback, private, link-local, ...). Applies to
    models in this process, for which this package fetches the images."""
    model_max_length: Count | None = None
    """The context length, in tokens: prompt and answer together."""
    load_pretrained_weights: bool = True
    """False initialises the weights afresh."""
    trust_remote_code: bool = False
    """Let the model's repository run code of its own here."""
    torch_dtype_str: Annotated[str, BeforeValidator(_dtype)] = Field(
        default="auto", validation_alias=AliasChoices("torch_dtype_str", "torch_dtype")
    )
    """The weights' precision: `auto` (the model's), `float32`, `float16`, `bfloat16`, `float64`, or a short name."""
    compile: bool = False
    """Compile the model before use."""
    chat_template: str | None = None
    """A Jinja template, the path of a file that holds one, a known format's name such as `llama3-instruct`, or null
    or `auto` for the model's own."""
    chat_template_kwargs: dict[str, Any] | None = None
    """Passed to the chat template."""
    attn_implementation: str | None = None
    """`sdpa`, `flash_attention_2`, `eager`, or a kernel's repository; null lets the engine choose."""
    device_map: str | None = "auto"
    """Where the layers go: `auto`, a device, or null for the default device."""
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Passed to the model's constructor."""
    enable_liger_kernel: bool = False
    """For training."""
    shard_for_eval: bool = False
    """For evaluation."""
    freeze_layers: list[str] = Field(default_factory=list)
    """For training."""
    model_revision: str | None = None
    """A branch, tag or commit of the model's repository."""
    tool_call_parser: str | None = None
    """The name of vLLM's parser for this model's tool calls."""

    @model_validator(mode="before")
    @classmethod
    def _what_has_a_key_of_its_own(cls, data: Any) -> Any:
        """In `model_kwargs` only Transformers would know it."""
        values = cast(dict[str, Any], data)
        if not isinstance(data, dict) or not isinstance(values.get("model_kwargs"), dict):
            return values
        given: dict[str, Any] = values["model_kwargs"]
        moved = {name: value for name, value in given.items() if isinstance(value, _KINDS.get(name, ()))}
        kept = {name: value for name, value in values.items() if name not in moved}
        others = {name: value for name, value in given.items() if name not in moved}
        return {**kept, **{_KEYS.get(name, name): value for name, value in moved.items()}, "model_kwargs": others}

    @model_validator(mode="after")
    def _processor_kwargs_are_not_fields(self) -> ModelParams:
        if reserved := self.processor_kwargs.keys() & type(self).model_fields.keys():
            raise ValueError(f"processor_kwargs: {', '.join(sorted(reserved))} belong directly under model")
        return self
