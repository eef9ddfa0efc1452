"""Which model runs, and how it is loaded."""

from __future__ import annotations

from typing import Annotated, Any, cast

from pydantic import AliasChoices, BeforeValidator, Field, model_validator

from asyncinfer.config.adapter import names_of
from asyncinfer.config.base import Count, OptionalPath, Params, RequiredPath
from asyncinfer.config.row_key import Hashed, Unhashed
from asyncinfer.types.field_types import EMPTY_TEXT, NONE

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
# Options of Transformers that are fields of ModelParams, with the types of the values that the field accepts.
_FIELD_TYPES: dict[str, type | tuple[type, ...]] = {
    "attn_implementation": str,
    "device_map": (str, type(None)),
    "revision": object,
    "torch_dtype": object,
    "trust_remote_code": bool,
}
# Those whose field has another name.
_FIELD_NAMES = {"revision": "model_revision", "torch_dtype": "torch_dtype_str"}
# Options of Hugging Face constructors that contain an access token. They are never part of a row's key.
HUB_TOKENS = frozenset({"token", "hf_token", "use_auth_token"})


def _dtype(value: Any) -> str:
    """The full name of a dtype, from any of its names or from a `torch.dtype`."""
    name = str(value).lower().removeprefix("torch.")
    known = _DTYPES.get(name, name)
    if known not in _KNOWN:
        raise ValueError(f"should be one of {', '.join(sorted(_KNOWN | _DTYPES.keys()))}")
    return known


class ModelParams(Params):
    """The model and how to load it. An engine ignores fields that are for other engines or for training."""

    model_name: Hashed[RequiredPath] = Field(default=EMPTY_TEXT, kw_only=False)
    """A hub repository id, a path, a provider's model name, or `pkg:package/file` for a file in a Python package. For
    `NATIVE` and `VLLM` also the folder of a LoRA adapter, which names its base model."""
    adapter_model: Hashed[OptionalPath] = NONE
    """A LoRA adapter to apply to the model."""
    tokenizer_name: Hashed[OptionalPath] = NONE
    """The tokenizer, if it is not the model's own."""
    tokenizer_pad_token: Hashed[str | None] = None
    """The padding token, if it is not the tokenizer's own."""
    tokenizer_kwargs: Hashed[dict[str, Any]] = Field(default_factory=dict)
    """Passed to the constructor of the tokenizer."""
    processor_kwargs: Hashed[dict[str, Any]] = Field(default_factory=dict)
    """Passed to the constructor of the image processor."""
    model_max_length: Hashed[Count | None] = None
    """The context length in tokens, for prompt and answer together."""
    load_pretrained_weights: Hashed[bool] = True
    """False: initialise the weights with random values."""
    trust_remote_code: Unhashed[bool] = False
    """Allow code from the model's repository to run in this process."""
    torch_dtype_str: Hashed[Annotated[str, BeforeValidator(_dtype)]] = Field(
        default="auto", validation_alias=AliasChoices("torch_dtype_str", "torch_dtype")
    )
    """The precision of the weights: `auto` (the model's), `float32`, `float16`, `bfloat16`, `float64`, or a short
    name."""
    compile: Unhashed[bool] = False
    """Compile the model before use."""
    chat_template: Hashed[str | None] = None
    """A Jinja template, the path of a template file, the name of a known format such as `llama3-instruct`, or null or
    `auto` for the model's own."""
    chat_template_kwargs: Hashed[dict[str, Any] | None] = None
    """Passed to the chat template."""
    attn_implementation: Unhashed[str | None] = None
    """`sdpa`, `flash_attention_2`, `eager`, or the repository of a kernel; null: the engine decides."""
    device_map: Unhashed[str | None] = "auto"
    """The devices of the layers: `auto`, a device, or null for the default device."""
    model_kwargs: Hashed[dict[str, Any]] = Field(default_factory=dict)
    """Passed to the constructor of the model. An engine names those that do not change an answer in
    `unhashed_model_kwargs`."""
    enable_liger_kernel: Unhashed[bool] = False
    """For training."""
    shard_for_eval: Unhashed[bool] = False
    """For evaluation."""
    freeze_layers: Unhashed[list[str]] = Field(default_factory=list)
    """For training."""
    model_revision: Hashed[str | None] = None
    """A branch, tag or commit of the model's repository."""
    tool_call_parser: Hashed[str | None] = None
    """The name of vLLM's parser for this model's tool calls."""
    max_image_pixels: Unhashed[Count] = 64_000_000
    """The most pixels (width times height) of one image, for models in this process. All images of a conversation
    together may have four times as many."""
    allow_private_urls: Unhashed[bool] = False
    """Allow image URLs that lead to addresses that are not public (loopback, private, link-local, ...). Applies to
    models in this process, for which this package fetches the images."""

    def hashed_values(self) -> dict[str, Any]:
        """As in the base class, without access tokens for the hub."""
        values = super().hashed_values()
        for name in ("tokenizer_kwargs", "processor_kwargs", "model_kwargs"):
            if name in values:
                values[name] = {key: value for key, value in values[name].items() if key not in HUB_TOKENS}
        return values

    def finalize_and_validate(self) -> None:
        """As in the base class. If `model_name` is the folder of a LoRA adapter, it moves to `adapter_model`, and
        `model_name` becomes the adapter's base model.
        """
        super().finalize_and_validate()
        names = self.with_base_model()
        if names is not self:
            self.model_name, self.adapter_model = names.model_name, names.adapter_model

    def with_base_model(self) -> ModelParams:
        """A copy to which `finalize_and_validate` was applied; these parameters themselves if it changes nothing.

        Raises:
            ConfigError: `model_name` is the folder of an adapter that names no base model.
        """
        names = names_of(self.model_name, self.adapter_model)
        return self if names == (self.model_name, self.adapter_model) else self.model_copy(update=names._asdict())

    @model_validator(mode="before")
    @classmethod
    def _move_options_to_fields(cls, data: Any) -> Any:
        """Move options from `model_kwargs` to their fields, so that every engine sees them."""
        values = cast(dict[str, Any], data)
        if not isinstance(data, dict) or not isinstance(values.get("model_kwargs"), dict):
            return values
        given: dict[str, Any] = values["model_kwargs"]
        moved = {name: value for name, value in given.items() if isinstance(value, _FIELD_TYPES.get(name, ()))}
        kept = {name: value for name, value in values.items() if name not in moved}
        others = {name: value for name, value in given.items() if name not in moved}
        return {
            **kept,
            **{_FIELD_NAMES.get(name, name): value for name, value in moved.items()},
            "model_kwargs": others,
        }

    @model_validator(mode="after")
    def _check_processor_kwargs(self) -> ModelParams:
        if reserved := self.processor_kwargs.keys() & type(self).model_fields.keys():
            raise ValueError(f"processor_kwargs: {', '.join(sorted(reserved))} belong directly under model")
        return self
