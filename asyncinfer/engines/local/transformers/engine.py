"""The native engine: models on this machine, through Hugging Face Transformers."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import ClassVar

from asyncinfer.config import InferenceEngineType
from asyncinfer.engines.local import shared_libraries
from asyncinfer.engines.local.chat_prompt import template_file, with_template
from asyncinfer.engines.local.engine import LocalInferenceEngine
from asyncinfer.engines.local.images import with_images
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Stepper
from asyncinfer.engines.local.transformers import load as native_load
from asyncinfer.engines.local.transformers.model import NativeModel
from asyncinfer.engines.local.transformers.stepper import NativeStepper
from asyncinfer.errors import ConfigError, MissingDependencyError

log = logging.getLogger("asyncinfer")

# Rows that wait in the model's thread, from which batches of like lengths are made.
POOL = 256


class NativeTextInferenceEngine(LocalInferenceEngine):
    """Runs a model with Transformers: what is greedy is what `model.generate` gives for the prompt alone.

    `model_name` is a folder, a hub repository, or a GGUF file: its path, `pkg:package/file.gguf`, or
    `model_kwargs.filename` of the folder or repository. `model_kwargs` takes what `from_pretrained` takes, and
    bitsandbytes' `load_in_4bit` and its like. `adapter_model` is a LoRA as peft saves it.

    Rows with the same sampling settings share a batch of up to `generation.batch_size` (null: as many as memory
    holds, up to 64). A row that ends leaves the batch at once and one that waits takes its place; of models whose
    cache does not allow that, a batch ends before the next begins. Sampling happens where `use_sampling` is set or
    `temperature` is above 0, at temperature 1 where only the former is; with a `seed`, a row's draws do not depend
    on the rows beside it.
    """

    engine_type: ClassVar[str] = InferenceEngineType.NATIVE
    unhashed_model_kwargs: ClassVar[frozenset[str]] = frozenset({"device_map", "cache_dir", "local_dir"})

    @classmethod
    def get_supported_params(cls) -> set[str]:
        own = {"batch_size", "exclude_prompt_from_response", "num_beams", "use_cache", "use_sampling"}
        return super().get_supported_params() | own

    def _check(self) -> None:
        for package in ("torch", "transformers"):
            if find_spec(package) is None:
                raise MissingDependencyError(package, "native")
        if not self._model_params.model_name:
            raise ConfigError("model.model_name: not set; give a folder, a hub repository or a GGUF file")
        template_file(self._model_params.chat_template)
        native_load.check(self._model_params)

    def _slots(self) -> int:
        return max(POOL, 2 * (self._generation_params.batch_size or 0))

    def _load(self) -> Stepper:
        shared_libraries.preload("torch", "triton")
        params = with_template(self._model_params)
        log.info("loading %s", params.model_name)
        model = NativeModel(native_load.load(params))
        if params.chat_template:
            model.check_template(params.chat_template)
        return NativeStepper(model, self._slots())

    async def _ready(self, request: Request) -> Request:
        return await with_images(request)
