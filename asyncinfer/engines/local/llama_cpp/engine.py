"""The llama.cpp engine: GGUF models on this machine, through llama-cpp-python."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any, ClassVar

from asyncinfer.config import InferenceEngineType, ModelParams
from asyncinfer.engines.local import gguf
from asyncinfer.engines.local.chat_prompt import template_file, with_template
from asyncinfer.engines.local.engine import LocalInferenceEngine
from asyncinfer.engines.local.images import with_images
from asyncinfer.engines.local.llama_cpp.compat import check_images
from asyncinfer.engines.local.llama_cpp.model import LlamaModel
from asyncinfer.engines.local.llama_cpp.options import DEFAULT_PARALLEL, UNHASHED, check_options
from asyncinfer.engines.local.llama_cpp.stepper import LlamaStepper
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Stepper
from asyncinfer.errors import ConfigError, MissingDependencyError
from asyncinfer.types.paths import expanded, is_file

log = logging.getLogger("asyncinfer")

# Options of earlier llama.cpp releases, which configs still set.
RETIRED = frozenset({"low_vram"})
# Options that are not for llama.cpp.
_NOT_ITS = gguf.HUB_OPTIONS | RETIRED


class LlamaCppInferenceEngine(LocalInferenceEngine):
    """Runs a GGUF model with llama.cpp, `model_kwargs.n_parallel` rows in one batch (8; fewer if memory is short).

    `model_name` is the path of a .gguf file, a hub repository (`model_kwargs.filename` picks the file, by
    default `*8_0.gguf`), or `pkg:package/file.gguf` for a file inside an installed Python package.
    `model_kwargs` takes what `llama_cpp.Llama` takes. The context of each row holds `model_max_length` tokens, or
    `model_kwargs.n_ctx`, or what the model was trained with up to 4096.

    A model that sees has a projector, another GGUF file: `model_kwargs.mmproj` is its path, `pkg:package/file.gguf`, or
    its name (or a pattern) in the hub repository. Images then stand in any turn, by path, by URL or as bytes. Where
    images may have any size, `model_kwargs.image_min_tokens` and `image_max_tokens` bound what one takes of the
    context. Each is read in a step of its own, between two tokens of the other rows, unless it was read as part of the
    same prefix before. Needs llama-cpp-python 0.3.22.

    `model_kwargs.kv_unified: true` keeps all rows in one pool: quicker for short rows and for a long system prompt that
    they share, slower for long rows that share nothing, and without the promise about rounding that follows.

    Temperature 0 is greedy, anything above samples. Greedy answers are those of `llama_cpp.Llama`, and with a `seed`
    a row's answer is the same whichever rows come before, beside or after it, where llama.cpp's kernels round alike
    for one token and for several (its own on a processor do); elsewhere a near tie may fall the other way.
    """

    engine_type: ClassVar[str] = InferenceEngineType.LLAMACPP
    unhashed_model_kwargs: ClassVar[frozenset[str]] = UNHASHED
    _others = frozenset({"attn_implementation", "compile", "device_map", "torch_dtype_str"})

    def _check(self) -> None:
        if find_spec("llama_cpp") is None:
            raise MissingDependencyError("llama-cpp-python", "llamacpp")
        params = self._model_params
        check_options(params.model_kwargs, _NOT_ITS)
        gguf.find_local(params.model_name)
        if self._mmproj is not None:
            check_images()
            gguf.find_projector(self._mmproj, params.model_name)
        template_file(params.chat_template)
        if params.adapter_model and not is_file(expanded(params.adapter_model, "model.adapter_model")):
            raise ConfigError(f"model.adapter_model: no file {params.adapter_model!r} (a LoRA in GGUF)")

    async def _ready(self, request: Request) -> Request:
        return request if self._mmproj is None else await with_images(request)

    @property
    def _mmproj(self) -> str | None:
        given: Any = self._model_params.model_kwargs.get("mmproj")
        return None if given is None else str(given)

    def _slots(self) -> int:
        asked: Any = self._model_params.model_kwargs.get("n_parallel")
        return asked if isinstance(asked, int) else DEFAULT_PARALLEL

    def _load(self) -> Stepper:
        params = self._model_params
        path = gguf.find(params.model_name, params.model_revision, params.model_kwargs)
        settings = _settings(params)
        if self._mmproj is not None:
            settings["mmproj"] = gguf.find_projector(self._mmproj, params.model_name) or gguf.fetch(
                params.model_name, params.model_revision, params.model_kwargs, "mmproj"
            )
        log.info("loading %s", path)
        model = LlamaModel(path, settings)
        if template := with_template(params).chat_template:
            model.template(template)
        return LlamaStepper(model)


def _settings(params: ModelParams) -> dict[str, Any]:
    """What of `params` goes to llama.cpp."""
    settings = {name: value for name, value in params.model_kwargs.items() if name not in _NOT_ITS}
    for name in RETIRED & params.model_kwargs.keys():
        log.debug("model.model_kwargs.%s: llama.cpp no longer has this option; ignored", name)
    if params.model_max_length is not None:
        settings["n_ctx"] = params.model_max_length
    if params.adapter_model:
        settings["lora_path"] = str(expanded(params.adapter_model, "model.adapter_model"))
    return settings
