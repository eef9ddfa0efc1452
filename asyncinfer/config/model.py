"""Which model runs, and how it is loaded."""

from __future__ import annotations

from typing import Annotated, Any, cast

from pydantic import AliasChoices, BeforeValidator, Field, PositiveInt, model_validator

from asyncinfer.config.base import Params

_DTYPES = {
    "f32": "float32",
    "float": "float32",
    "f16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
    "f64": "float64",
    "double": "float64",
}
_KNOWN = frozenset({"auto", *_DTYPES.values()})


def _dtype(name: Any) -> Any:
    known = _DTYPES.get(str(name), str(name)).removeprefix("torch.")
    if known not in _KNOWN:
        raise ValueError(f"{name!r} is no known dtype; it is one of {', '.join(sorted(_KNOWN | _DTYPES.keys()))}")
    return known


class ModelParams(Params):
    """The model and how to load it. Engines take what concerns them; some fields matter in training only."""

    model_name: str = ""
    """A hub repository id, a path, a provider's model name, or `pkg:package/file` for a model in a package."""
    adapter_model: str | None = None
    """A LoRA adapter to apply on top."""
    tokenizer_name: str | None = None
    tokenizer_pad_token: str | None = None
    tokenizer_kwargs: dict[str, Any] = Field(default_factory=dict)
    processor_kwargs: dict[str, Any] = Field(default_factory=dict)
    model_max_length: PositiveInt | None = None
    """The context length, in tokens: prompt and answer together."""
    load_pretrained_weights: bool = True
    trust_remote_code: bool = False
    torch_dtype_str: Annotated[str, BeforeValidator(_dtype)] = Field(
        default="auto", validation_alias=AliasChoices("torch_dtype_str", "torch_dtype")
    )
    compile: bool = False
    chat_template: str | None = None
    """A Jinja template, or None or `auto` for the model's own."""
    chat_template_kwargs: dict[str, Any] | None = None
    attn_implementation: str | None = None
    device_map: str | None = "auto"
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Passed to the model's constructor."""
    enable_liger_kernel: bool = False
    shard_for_eval: bool = False
    freeze_layers: list[str] = Field(default_factory=list)
    model_revision: str | None = None
    tool_call_parser: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _revision_has_a_key_of_its_own(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        values = cast(dict[str, Any], data)
        kwargs = values.get("model_kwargs")
        if isinstance(kwargs, dict) and "revision" in kwargs:
            others = dict(cast(dict[str, Any], kwargs))
            return {**values, "model_revision": others.pop("revision"), "model_kwargs": others}
        return values

    @model_validator(mode="after")
    def _processor_kwargs_are_not_fields(self) -> ModelParams:
        if reserved := self.processor_kwargs.keys() & type(self).model_fields.keys():
            raise ValueError(f"processor_kwargs: {', '.join(sorted(reserved))} belong directly under model")
        return self
