"""llama.cpp's multimodal projector, which converts the images of a prompt to what a model can evaluate."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from asyncinfer.engines.local.images import decode_image
from asyncinfer.engines.local.llama_cpp.compat import api, attach_image_log, mtmd, recent_errors, set_text
from asyncinfer.engines.local.llama_cpp.context import LlamaContext
from asyncinfer.engines.local.llama_cpp.prompt import Prompt, PromptImage
from asyncinfer.errors import ConfigError, InferenceErrorType, RequestError, invalid_request

_IMAGE_OPTIONS = ("image_min_tokens", "image_max_tokens")
# The default of `n_ubatch`: the most tokens of an image that llama.cpp evaluates in one pass.
_DEFAULT_UBATCH = 512


class Projector:
    """A loaded projector. For use in the model's thread only.

    Attributes:
        batch_tokens: How many tokens of an image one batch must hold, if the model needs all of them in one batch;
            else None.
    """

    def __init__(self, path: Path, model: Any, options: Mapping[str, Any]) -> None:
        """
        Raises:
            ConfigError: The file is not a projector of this model.
        """
        # A random marker: a conversation may contain llama.cpp's own one.
        self.marker = f"<__image_{uuid4().hex}__>"
        self._vocabulary: int = api().llama_vocab_n_tokens(api().llama_model_get_vocab(model))
        attach_image_log()
        self._ctx: Any = mtmd().mtmd_init_from_file(os.fsencode(path), model, self._params(options))
        try:
            if not self._ctx:
                raise ConfigError(_not_a_projector(path, recent_errors() or "llama.cpp cannot load it"))
            if not mtmd().mtmd_support_vision(self._ctx):
                raise ConfigError(_not_a_projector(path, "it does not support images"))
            self._check_tokens(path)
        except BaseException:
            self.close()
            raise
        needs_one_batch = mtmd().mtmd_decode_use_non_causal(self._ctx, None)
        self.batch_tokens: int | None = None if not needs_one_batch else options.get("n_ubatch", _DEFAULT_UBATCH)

    def prompt(self, text: str, images: Sequence[bytes]) -> Prompt:
        """The prompt, with the images in place of the markers, in order.

        Raises:
            RequestError: An image cannot be read, or the template or the model does not support it.
        """
        if text.count(self.marker) != len(images):
            raise invalid_request("the chat template leaves out images of the conversation, or repeats them")
        prompt = self._tokenize(text, [(blake2b(data).hexdigest(), decode_image(data)) for data in images])
        try:
            self._check(prompt)
        except RequestError:
            prompt.close()
            raise
        return prompt

    def evaluate(self, image: PromptImage, context: LlamaContext, sequence: int) -> None:
        """Evaluate an image as the next part of a sequence.

        Raises:
            RequestError: llama.cpp failed.
        """
        code = mtmd().mtmd_helper_eval_chunk_single(
            self._ctx,
            context.ctx,
            image.chunk,
            image.start,
            sequence,
            context.batch_size,
            False,
            ctypes.byref(ctypes.c_int32()),
        )
        if code:
            raise RequestError(
                f"llama.cpp could not evaluate an image (code {code}): {recent_errors()}",
                error_type=InferenceErrorType.RUNTIME,
            )

    def close(self) -> None:
        if self._ctx:
            mtmd().mtmd_free(self._ctx)
        self._ctx = None

    def _params(self, options: Mapping[str, Any]) -> Any:
        params: Any = mtmd().mtmd_context_params_default()
        params.use_gpu = options.get("n_gpu_layers") != 0
        params.print_timings = False
        params.n_threads = options["n_threads_batch"]
        params.media_marker = self.marker.encode()
        params.flash_attn_type = int(bool(options["flash_attn"]))
        for name in _IMAGE_OPTIONS:
            if name in options:
                setattr(params, name, options[name])
        return params

    def _check_tokens(self, path: Path) -> None:
        """Raise a ConfigError if the model's vocabulary lacks the tokens that go before and after an image."""
        image = import_module("PIL.Image").new("RGB", (64, 64))
        try:
            self._tokenize(self.marker, [("", image)]).close()
        except RequestError as error:
            raise ConfigError(_not_a_projector(path, str(error))) from error

    def _tokenize(self, text: str, images: Sequence[tuple[str, Any]]) -> Prompt:
        chunks = mtmd().mtmd_input_chunks_init()
        try:
            with _bitmaps(images) as bitmaps:
                code = mtmd().mtmd_tokenize(self._ctx, chunks, ctypes.byref(_input(text)), bitmaps, len(images))
            if code:
                raise invalid_request(f"llama.cpp cannot prepare the images of this conversation (code {code})")
            return self._prompt_of(chunks)
        except BaseException:
            mtmd().mtmd_input_chunks_free(chunks)
            raise

    def _prompt_of(self, chunks: Any) -> Prompt:
        positions, images = list[int](), list[PromptImage]()
        for chunk in _iterate(chunks):
            if mtmd().mtmd_input_chunk_get_type(chunk) == mtmd().MTMD_INPUT_CHUNK_TYPE_TEXT:
                positions += self._text_tokens(chunk)
                continue
            length, tokens = mtmd().mtmd_input_chunk_get_n_pos(chunk), mtmd().mtmd_input_chunk_get_n_tokens(chunk)
            images.append(PromptImage(len(positions), length, tokens, chunk))
            positions += [_image_number(chunk, len(images))] * length
        return Prompt(positions, images, _call_once(lambda: mtmd().mtmd_input_chunks_free(chunks)))

    def _text_tokens(self, chunk: Any) -> list[int]:
        count = ctypes.c_size_t()
        tokens: Any = mtmd().mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
        text: list[int] = tokens[: count.value]
        if not all(0 <= token < self._vocabulary for token in text):
            raise invalid_request("the model's vocabulary lacks the tokens that go before and after an image")
        return text

    def _check(self, prompt: Prompt) -> None:
        if prompt.positions[-1] < 0:
            raise invalid_request("the chat template ends with an image; it should begin the answer after it")
        most = max(image.tokens for image in prompt.images)
        if self.batch_tokens is not None and most > self.batch_tokens:
            raise invalid_request(
                f"an image takes {most} tokens. This model needs all of them in one batch, and "
                f"model.model_kwargs.n_ubatch allows {self.batch_tokens}: raise it, or use a smaller image"
            )


def _not_a_projector(path: Path, reason: str) -> str:
    return (
        f"model.model_kwargs.mmproj: {path.absolute()} is not a projector of this model: {reason.strip()}. "
        "Use the GGUF file with `mmproj` in its name that belongs to exactly this model"
    )


def _input(text: str) -> Any:
    """An `mtmd_input_text`. The template has written all special tokens, also the first one."""
    value: Any = mtmd().mtmd_input_text()
    set_text(value, text.encode())
    value.add_special, value.parse_special = False, True
    return value


@contextmanager
def _bitmaps(images: Sequence[tuple[str, Any]]) -> Generator[Any]:
    """The images with their names, as an array of `mtmd_bitmap`."""
    bitmaps = (mtmd().mtmd_bitmap_p_ctypes * len(images))()
    try:
        for index, (name, image) in enumerate(images):
            data: bytes = image.tobytes()
            bitmaps[index] = mtmd().mtmd_bitmap_init(*image.size, (ctypes.c_uint8 * len(data)).from_buffer_copy(data))
            mtmd().mtmd_bitmap_set_id(bitmaps[index], name.encode())
        yield bitmaps
    finally:
        for bitmap in filter(None, bitmaps):
            mtmd().mtmd_bitmap_free(bitmap)


def _iterate(chunks: Any) -> Iterator[Any]:
    for index in range(mtmd().mtmd_input_chunks_size(chunks)):
        yield mtmd().mtmd_input_chunks_get(chunks, index)


def _image_number(chunk: Any, ordinal: int) -> int:
    """The negative number of an image in `Prompt.positions`. An image may be cut into several chunks, which the ordinal
    distinguishes.
    """
    image: bytes = mtmd().mtmd_input_chunk_get_id(chunk)
    return -1 - int.from_bytes(blake2b(b"%d:%b" % (ordinal, image), digest_size=16).digest())


def _call_once(function: Callable[[], None]) -> Callable[[], None]:
    """A function that calls `function` the first time only."""
    remaining = [function]
    return lambda: remaining.pop()() if remaining else None
