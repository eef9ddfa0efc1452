"""The llama.cpp engine: GGUF models on this machine, through llama-cpp-python."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from asyncinfer.config import InferenceEngineType, ModelParams
from asyncinfer.engines.local import gguf
from asyncinfer.engines.local.chat_prompt import ConversationRenderer, resolve_chat_template, template_file
from asyncinfer.engines.local.engine import LocalInferenceEngine
from asyncinfer.engines.local.images import load_images
from asyncinfer.engines.local.llama_cpp.chat_renderer import ChatRenderer, read_template_source
from asyncinfer.engines.local.llama_cpp.compat import check_images, mtmd
from asyncinfer.engines.local.llama_cpp.model import LlamaModel
from asyncinfer.engines.local.llama_cpp.options import DEFAULT_PARALLEL, UNHASHED, check_options
from asyncinfer.engines.local.llama_cpp.stepper import LlamaStepper
from asyncinfer.engines.local.model_paths import HUB_OPTIONS
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Stepper
from asyncinfer.errors import ConfigError, MissingDependencyError
from asyncinfer.types.paths import expanded, is_file

log = logging.getLogger("asyncinfer")

# Options that existing configs may contain, and that llama.cpp does not have.
IGNORED = frozenset({"low_vram"})
# Options that are not passed to llama.cpp.
_NOT_PASSED = HUB_OPTIONS | IGNORED


class LlamaCppInferenceEngine(LocalInferenceEngine):
    """Runs a GGUF model with llama.cpp. One batch holds `model_kwargs.n_parallel` rows (8; fewer if memory is short).

    `model_name` is the path of a .gguf file, a hub repository (`model_kwargs.filename` selects the file, by
    default `*8_0.gguf`), or `pkg:package/file.gguf` for a file inside an installed Python package.
    `model_kwargs` takes the arguments of `llama_cpp.Llama`. The context of each row holds `model_max_length` tokens, or
    `model_kwargs.n_ctx`, or as many as the model was trained with, up to 4096.

    Images: a vision model has a projector, which is a second GGUF file. `model_kwargs.mmproj` is its path,
    `pkg:package/file.gguf`, or its name (or a pattern) in the hub repository. Any turn may then contain images, by
    path, by URL or as bytes. If the model accepts images of any size, `model_kwargs.image_min_tokens` and
    `image_max_tokens` limit how many tokens of the context one image takes. Each image is evaluated in a step of its
    own, between two tokens of the other rows, unless it is part of a prefix that was evaluated before. Requires
    llama-cpp-python 0.3.22.

    `model_kwargs.kv_unified: true` keeps all rows in one pool. This is faster for short rows and for a long system
    prompt that all rows share, and slower for long rows without a common prefix. The promise about rounding below does
    not hold then.

    Temperature 0 is greedy; any higher temperature samples. Greedy answers equal those of `llama_cpp.Llama`. With a
    `seed`, the answer of a row does not depend on the rows before, next to or after it. Both hold if llama.cpp's
    kernels round alike for one token and for several, as its own kernels for processors do. With other kernels, the
    choice between two almost equally likely tokens may differ.
    """

    engine_type: ClassVar[str] = InferenceEngineType.LLAMACPP
    unhashed_model_kwargs: ClassVar[frozenset[str]] = UNHASHED
    _ignored_fields = frozenset({"attn_implementation", "compile", "device_map", "torch_dtype_str"})

    def _validate(self) -> None:
        if find_spec("llama_cpp") is None:
            raise MissingDependencyError("llama-cpp-python", "llamacpp")
        params = self._model_params
        check_options(params.model_kwargs, _NOT_PASSED)
        gguf.find_local(params.model_name)
        if self._mmproj is not None:
            check_images()
            gguf.find_projector(self._mmproj, params.model_name)
        template_file(params.chat_template)
        if params.adapter_model and not is_file(expanded(params.adapter_model, "model.adapter_model")):
            raise ConfigError(f"model.adapter_model: no file {params.adapter_model!r} (a LoRA adapter in GGUF format)")

    async def _prepare(self, request: Request) -> Request:
        return request if self._mmproj is None else await load_images(request)

    @property
    def _mmproj(self) -> str | None:
        mmproj: Any = self._model_params.model_kwargs.get("mmproj")
        return None if mmproj is None else str(mmproj)

    def _slots(self) -> int:
        parallel: Any = self._model_params.model_kwargs.get("n_parallel")
        return parallel if isinstance(parallel, int) else DEFAULT_PARALLEL

    def _make_renderer(self) -> ConversationRenderer:
        source = read_template_source(self._path())
        if resolve_chat_template(self._model_params).chat_template is None and source.template is None:
            raise ConfigError("model.chat_template: not set, and the GGUF file has none of its own")
        return ChatRenderer(source, None if self._mmproj is None else mtmd().mtmd_default_marker().decode())

    def _path(self) -> Path:
        params = self._model_params
        return gguf.find(params.model_name, params.model_revision, params.model_kwargs)

    def _load(self) -> Stepper:
        params, path = self._model_params, self._path()
        settings = _settings(params)
        if self._mmproj is not None:
            settings["mmproj"] = gguf.find_projector(self._mmproj, params.model_name) or gguf.fetch(
                params.model_name, params.model_revision, params.model_kwargs, "mmproj"
            )
        log.info("loading %s", path)
        model = LlamaModel(path, settings)
        if template := resolve_chat_template(params).chat_template:
            model.renderer.compile(template)
        return LlamaStepper(model)


def _settings(params: ModelParams) -> dict[str, Any]:
    """The settings for llama.cpp."""
    settings = {name: value for name, value in params.model_kwargs.items() if name not in _NOT_PASSED}
    for name in IGNORED & params.model_kwargs.keys():
        log.debug("model.model_kwargs.%s: llama.cpp does not have this option; ignored", name)
    if params.model_max_length is not None:
        settings["n_ctx"] = params.model_max_length
    if params.adapter_model:
        settings["lora_path"] = str(expanded(params.adapter_model, "model.adapter_model"))
    return settings
