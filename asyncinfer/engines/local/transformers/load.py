"""Loads a model with Transformers as `ModelParams` describe it: weights, tokenizer, processor and adapter."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from asyncinfer.config import ModelParams
from asyncinfer.engines.local import gguf
from asyncinfer.engines.local.tokenizer import common_options, load_tokenizer, try_to_load
from asyncinfer.engines.local.transformers import compat
from asyncinfer.errors import ConfigError, MissingDependencyError
from asyncinfer.types.paths import expanded, is_folder

_BITS = ("load_in_4bit", "load_in_8bit")
# Prefixes of options for bitsandbytes.
_BITSANDBYTES = ("load_in_", "bnb_", "llm_int8_")
# Values of device_map that are not the name of a device.
_DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")


class LoadedModel(NamedTuple):
    """What Transformers has loaded.

    Args:
        processor: The processor of a vision model; None for other models.
        max_length: `model_max_length`, or None.
    """

    model: Any
    tokenizer: Any
    processor: Any
    max_length: int | None


class _Source(NamedTuple):
    """Where the weights are: a folder or a hub repository, and the GGUF file in it, if any."""

    name: str
    gguf_file: str | None


def check_packages(params: ModelParams) -> None:
    """Check the setting of the model file, and that the packages are installed. Loads nothing.

    Raises:
        MissingDependencyError: A package that these settings need is not installed.
        ConfigError: The settings name no model file.
    """
    if _is_gguf(params):
        _needs("gguf")
    if params.device_map is not None:
        _needs("accelerate")
    if any(params.model_kwargs.get(name) for name in _BITS):
        _needs("bitsandbytes")
    if params.adapter_model:
        _needs("peft")
    _source(params)


def load(params: ModelParams) -> LoadedModel:
    """Load everything. Takes long if files must be downloaded.

    Raises:
        ConfigError: Something cannot be loaded. The message names the reason and the setting.
    """
    source = _source(params)
    is_vision = _is_vision_model(params, source)
    tokenizer, processor = _readers(params, source, is_vision)
    model = try_to_load("model.model_name", source.name, lambda: _model(params, source, is_vision))
    if getattr(model.config, "is_encoder_decoder", False) or not hasattr(model, "generate"):
        raise ConfigError(f"model.model_name: {source.name!r} is not a decoder-only model that generates text")
    if params.adapter_model:
        model = _adapted(model, params.adapter_model)
    model.eval()
    if params.compile:
        model.compile()
    return LoadedModel(model, tokenizer, processor, params.model_max_length)


def load_readers(params: ModelParams) -> tuple[Any, Any]:
    """Load the tokenizer, and for a vision model the processor, but no weights.

    Raises:
        ConfigError: They cannot be loaded.
    """
    source = _source(params)
    return _readers(params, source, _is_vision_model(params, source))


def model_type(params: ModelParams) -> str:
    """The type in the model's configuration, such as `llama`; an empty text if it has none.

    Raises:
        ConfigError: The configuration cannot be loaded.
    """
    source = _source(params)
    config = try_to_load("model.model_name", source.name, lambda: _config(params, source))
    return getattr(config, "model_type", "")


def _is_gguf(params: ModelParams) -> bool:
    return "filename" in params.model_kwargs or params.model_name.endswith(".gguf")


def _source(params: ModelParams) -> _Source:
    is_in_home = params.model_name.startswith("~")
    name = str(expanded(params.model_name, "model.model_name")) if is_in_home else params.model_name
    if name.startswith("pkg:") or name.endswith(".gguf"):
        if (file := gguf.find_local(name)) is not None:
            return _Source(str(file.parent), file.name)
    elif "filename" not in params.model_kwargs:
        return _Source(name, None)
    filename = str(params.model_kwargs.get("filename", gguf.DEFAULT_FILENAME))
    if not any(character in filename for character in "*?["):
        return _Source(name, filename)
    if is_folder(folder := Path(name)):
        file = next(iter(sorted(folder.glob(filename))), None)
        if file is None:
            raise ConfigError(f"model.model_kwargs.filename: {filename!r} matches no file in {folder.absolute()}")
        return _Source(name, file.name)
    raise ConfigError(f"model.model_kwargs.filename: set it to one file of the repository {name!r}, without wildcards")


def _config(params: ModelParams, source: _Source) -> Any:
    auto: Any = import_module("transformers").AutoConfig
    extra = {"gguf_file": source.gguf_file} if source.gguf_file else {}
    return auto.from_pretrained(source.name, **common_options(params), **extra)


def _is_vision_model(params: ModelParams, source: _Source) -> bool:
    config = try_to_load("model.model_name", source.name, lambda: _config(params, source))
    transformers: Any = import_module("transformers")
    if type(config) not in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return False
    return hasattr(config, "vision_config") or type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING


def _model(params: ModelParams, source: _Source, is_vision: bool) -> Any:
    transformers: Any = import_module("transformers")
    auto = transformers.AutoModelForImageTextToText if is_vision else transformers.AutoModelForCausalLM
    if not params.load_pretrained_weights:
        return _placed(auto.from_config(_config(params, source), **_weight_options(params)), params.device_map)
    options = _options(params, source)
    if params.device_map is not None:
        options.setdefault("device_map", params.device_map)
    options = {**common_options(params), **_weight_options(params), **options, "output_loading_info": True}
    model, report = auto.from_pretrained(source.name, **options)
    # Transformers would use random numbers for missing weights.
    if missing := sorted(report["missing_keys"] & dict(model.named_parameters()).keys()):
        raise ValueError(
            f"{len(missing)} of its weights are missing, such as {missing[0]}, or Transformers cannot read their format"
        )
    return model


def _placed(model: Any, device_map: str | None) -> Any:
    """The model, moved to the devices that `from_pretrained` would choose."""
    if device_map is None:
        return model
    if device_map not in _DEVICE_MAPS:
        return model.to(device_map)
    accelerate: Any = import_module("accelerate")
    whole = compat.unsplittable_modules(model)
    memory = None
    if device_map != "sequential":
        low_zero = device_map == "balanced_low_0"
        memory = accelerate.utils.get_balanced_memory(model, no_split_module_classes=whole, low_zero=low_zero)
    places = accelerate.infer_auto_device_map(model, memory, no_split_module_classes=whole)
    return accelerate.dispatch_model(model, places)


def _weight_options(params: ModelParams) -> dict[str, Any]:
    """The arguments about the format and the computation of weights."""
    options: dict[str, Any] = {"dtype": params.torch_dtype_str}
    if not params.load_pretrained_weights and params.torch_dtype_str == "auto":
        del options["dtype"]
    if params.attn_implementation is not None:
        options["attn_implementation"] = params.attn_implementation
    return options


def _options(params: ModelParams, source: _Source) -> dict[str, Any]:
    """`model_kwargs` as arguments of `from_pretrained`."""
    transformers: Any = import_module("transformers")
    options = {name: value for name, value in params.model_kwargs.items() if name not in ("filename", "local_dir")}
    bits = {name: options.pop(name) for name in list(options) if name.startswith(_BITSANDBYTES)}
    if any(bits.get(name) for name in _BITS):
        options["quantization_config"] = transformers.BitsAndBytesConfig(**bits)
    if source.gguf_file:
        options["gguf_file"] = source.gguf_file
        options.setdefault("quantization_config", transformers.GgufConfig(dequantize=True))
    return options


def _readers(params: ModelParams, source: _Source, is_vision: bool) -> tuple[Any, Any]:
    tokenizer = load_tokenizer(params, source.name, source.gguf_file)
    return tokenizer, _processor(params, source, tokenizer) if is_vision else None


def _processor(params: ModelParams, source: _Source, tokenizer: Any) -> Any:
    _needs("PIL", "pillow")
    auto: Any = import_module("transformers").AutoProcessor
    options = {**common_options(params), **params.processor_kwargs}
    processor = try_to_load("model.model_name", source.name, lambda: auto.from_pretrained(source.name, **options))
    if params.tokenizer_name is not None:
        processor.tokenizer = tokenizer
    return processor


def _adapted(model: Any, adapter: str) -> Any:
    """The model with the layers of the adapter."""
    peft: Any = import_module("peft")
    path = str(expanded(adapter, "model.adapter_model"))

    def apply() -> Any:
        adapted = peft.PeftModel.from_pretrained(model, path)
        if adapted.active_peft_config.is_prompt_learning:
            raise ValueError(
                "it changes the prompt instead of the weights; only adapters of weights (LoRA) are supported"
            )
        return adapted.get_base_model()

    return try_to_load("model.adapter_model", path, apply)


def _needs(module: str, package: str | None = None) -> None:
    if find_spec(module) is None:
        raise MissingDependencyError(package or module, "native")
