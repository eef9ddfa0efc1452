"""The engine NATIVE: models on this machine, through Hugging Face Transformers."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import ClassVar

from asyncinfer.config import GenerationParams, InferenceEngineType
from asyncinfer.engines.local import shared_libraries
from asyncinfer.engines.local.chat_prompt import ConversationRenderer, resolve_chat_template, template_file
from asyncinfer.engines.local.engine import LocalInferenceEngine
from asyncinfer.engines.local.images import load_images
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Stepper
from asyncinfer.engines.local.tokenizer_renderer import (
    TokenizerRenderer,
    check_template,
    default_template,
    has_template,
)
from asyncinfer.engines.local.transformers.load import check_packages, load, load_readers, model_type
from asyncinfer.engines.local.transformers.model import TransformersModel
from asyncinfer.engines.local.transformers.sampling import sampling_in_effect, unused_without_sampling
from asyncinfer.engines.local.transformers.stepper import TransformersStepper
from asyncinfer.errors import ConfigError, MissingDependencyError

log = logging.getLogger("asyncinfer")

# How many rows are in the model's thread, so that batches can have prompts of similar length.
POOL = 256


class NativeTextInferenceEngine(LocalInferenceEngine):
    """Runs a model with Transformers. Greedy answers equal those of `model.generate` for the prompt alone.

    `model_name` is a folder, a hub repository, or a GGUF file: its path, `pkg:package/file.gguf`, or
    `model_kwargs.filename` of the folder or repository. `model_kwargs` takes the arguments of `from_pretrained`, and
    the options of bitsandbytes, such as `load_in_4bit`. `adapter_model` is a LoRA adapter as peft saves it.

    Rows with the same sampling settings share a batch of up to `generation.batch_size` rows (null: as many as fit into
    the memory, up to 64). A finished row leaves the batch at once, and a waiting row takes its place. Models that
    cannot batch dynamically, because of their kind of cache, process one batch at a time.

    Rows are sampled only if `use_sampling` is set; a `temperature` alone has no effect, and a warning says so. Without
    a temperature above 0, they are sampled at 1. With a `seed`, the random numbers of a row do not depend on the other
    rows.

    A model without a chat template of its own gets the template `default`, with a warning. `chat_template: auto` makes
    that an error of each row.
    """

    engine_type: ClassVar[str] = InferenceEngineType.NATIVE
    unhashed_model_kwargs: ClassVar[frozenset[str]] = frozenset({"device_map", "cache_dir", "local_dir"})
    _accepts_adapter_folders = True

    @classmethod
    def get_supported_params(cls) -> set[str]:
        own = {"batch_size", "exclude_prompt_from_response", "num_beams", "use_cache", "use_sampling"}
        return super().get_supported_params() | own

    def _validate(self) -> None:
        for package in ("torch", "transformers"):
            if find_spec(package) is None:
                raise MissingDependencyError(package, "native")
        if not self._model_params.model_name:
            raise ConfigError("model.model_name: not set; give a folder, a hub repository or a GGUF file")
        template_file(self._model_params.chat_template)
        check_packages(self._model_params)

    def _without_effect(self, generation: GenerationParams) -> frozenset[str]:
        unused = unused_without_sampling(generation)
        if unused:
            names = ", ".join(f"generation.{name}" for name in sorted(unused))
            self._warn_once(f"{names}: no effect on NATIVE without generation.use_sampling: true")
        return unused

    def _in_effect(self, generation: GenerationParams) -> GenerationParams:
        return sampling_in_effect(generation)

    def _slots(self) -> int:
        return max(POOL, 2 * (self._generation_params.batch_size or 0))

    def _load(self) -> Stepper:
        shared_libraries.preload("torch", "triton")
        params = resolve_chat_template(self._model_params)
        log.info("loading %s", params.model_name)
        model = TransformersModel(load(params), may_use_default_template=self._may_use_default_template)
        if params.chat_template:
            model.check_template(params.chat_template)
        return TransformersStepper(model, self._slots())

    @property
    def _may_use_default_template(self) -> bool:
        return not self._model_params.chat_template

    def _make_renderer(self) -> ConversationRenderer:
        params = resolve_chat_template(self._model_params)
        tokenizer, processor = load_readers(params)
        if self._may_use_default_template and not has_template(tokenizer, processor):
            return TokenizerRenderer(tokenizer, processor, default=default_template(model_type(params)))
        check_template(params, tokenizer, processor)
        return TokenizerRenderer(tokenizer, processor)

    async def _prepare(self, request: Request) -> Request:
        return await load_images(request)
