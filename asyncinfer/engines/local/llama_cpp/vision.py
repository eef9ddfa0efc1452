"""llama.cpp's multimodal projector: what it makes of the images in a prompt."""

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

from asyncinfer.engines.local.chat_prompt import in_parts
from asyncinfer.engines.local.images import pixels
from asyncinfer.engines.local.llama_cpp.compat import api, complaints, log_callback, mtmd
from asyncinfer.engines.local.llama_cpp.context import LlamaContext
from asyncinfer.engines.local.llama_cpp.prompt import Picture, Prompt
from asyncinfer.errors import ConfigError, InferenceErrorType, RequestError, invalid_request
from asyncinfer.types.conversation import Message

_OPTIONS = ("image_min_tokens", "image_max_tokens")
# The most tokens of an image that llama.cpp evaluates together, unless `n_ubatch` says otherwise.
_TOGETHER = 512


class Projector:
    """Makes of images what a model can read. Used in the model's thread only.

    `together`: how many tokens of an image the context must take in one batch, if the model needs them so.
    """

    def __init__(self, path: Path, model: Any, given: Mapping[str, Any]) -> None:
        """Raises ConfigError when this is no projector for this model."""
        # Not llama.cpp's own mark, which a conversation may contain.
        self._mark = f"<__image_{uuid4().hex}__>"
        self._vocabulary: int = api().llama_vocab_n_tokens(api().llama_model_get_vocab(model))
        mtmd().mtmd_helper_log_set(log_callback(bool(given["verbose"])), None)
        self._ctx: Any = mtmd().mtmd_init_from_file(os.fsencode(path), model, self._params(given))
        try:
            if not self._ctx:
                raise ConfigError(_unfit(path, complaints() or "llama.cpp cannot load it"))
            if not mtmd().mtmd_support_vision(self._ctx):
                raise ConfigError(_unfit(path, "it reads no images"))
            self._try(path)
        except BaseException:
            self.close()
            raise
        apart = not mtmd().mtmd_decode_use_non_causal(self._ctx, None)
        self.together: int | None = None if apart else given.get("n_ubatch", _TOGETHER)

    def in_text(self, message: Message) -> str:
        """The content of a message, with a mark where an image is. Raises RequestError for documents."""
        pieces = [self._mark if part["type"] == "image" else part["text"] for part in in_parts(message)]
        return " ".join(pieces).replace(f" {self._mark}", self._mark).replace(f"{self._mark} ", self._mark)

    def prompt(self, text: str, images: Sequence[bytes]) -> Prompt:
        """The prompt with `images` in the places of the marks, in order.

        Raises:
            RequestError: an image cannot be read, or the template or the model does not take it.
        """
        if text.count(self._mark) != len(images):
            raise invalid_request("the chat template leaves out images of the conversation, or repeats them")
        prompt = self._tokenize(text, [(blake2b(data).hexdigest(), pixels(data)) for data in images])
        try:
            self._check(prompt)
        except RequestError:
            prompt.close()
            raise
        return prompt

    def read(self, picture: Picture, context: LlamaContext, sequence: int) -> None:
        """Add a picture to what a sequence holds.

        Raises:
            RequestError: llama.cpp failed at it.
        """
        code = mtmd().mtmd_helper_eval_chunk_single(
            self._ctx,
            context.ctx,
            picture.chunk,
            picture.start,
            sequence,
            context.batch_size,
            False,
            ctypes.byref(ctypes.c_int32()),
        )
        if code:
            raise RequestError(
                f"llama.cpp could not read an image (code {code}): {complaints()}",
                error_type=InferenceErrorType.RUNTIME,
            )

    def close(self) -> None:
        if self._ctx:
            mtmd().mtmd_free(self._ctx)
        self._ctx = None

    def _params(self, given: Mapping[str, Any]) -> Any:
        params: Any = mtmd().mtmd_context_params_default()
        params.use_gpu = given.get("n_gpu_layers") != 0
        params.print_timings = False
        params.n_threads = given["n_threads_batch"]
        params.media_marker = self._mark.encode()
        params.flash_attn_type = int(bool(given["flash_attn"]))
        for name in _OPTIONS:
            if name in given:
                setattr(params, name, given[name])
        return params

    def _try(self, path: Path) -> None:
        """Raise a ConfigError if the model lacks the tokens that are to stand around an image."""
        image = import_module("PIL.Image").new("RGB", (64, 64))
        try:
            self._tokenize(self._mark, [("", image)]).close()
        except RequestError as error:
            raise ConfigError(_unfit(path, str(error))) from error

    def _tokenize(self, text: str, images: Sequence[tuple[str, Any]]) -> Prompt:
        chunks = mtmd().mtmd_input_chunks_init()
        try:
            with _bitmaps(images) as bitmaps:
                code = mtmd().mtmd_tokenize(self._ctx, chunks, ctypes.byref(_input(text)), bitmaps, len(images))
            if code:
                raise invalid_request(f"llama.cpp cannot prepare the images of this conversation (code {code})")
            return self._assembled(chunks)
        except BaseException:
            mtmd().mtmd_input_chunks_free(chunks)
            raise

    def _assembled(self, chunks: Any) -> Prompt:
        places, pictures = list[int](), list[Picture]()
        for chunk in _each(chunks):
            if mtmd().mtmd_input_chunk_get_type(chunk) == mtmd().MTMD_INPUT_CHUNK_TYPE_TEXT:
                places += self._tokens(chunk)
                continue
            length, tokens = mtmd().mtmd_input_chunk_get_n_pos(chunk), mtmd().mtmd_input_chunk_get_n_tokens(chunk)
            pictures.append(Picture(len(places), length, tokens, chunk))
            places += [_number(chunk, len(pictures))] * length
        return Prompt(places, pictures, _once(lambda: mtmd().mtmd_input_chunks_free(chunks)))

    def _tokens(self, chunk: Any) -> list[int]:
        count = ctypes.c_size_t()
        tokens: Any = mtmd().mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
        found: list[int] = tokens[: count.value]
        if not all(0 <= token < self._vocabulary for token in found):
            raise invalid_request("the model's vocabulary lacks the tokens that are to stand around an image")
        return found

    def _check(self, prompt: Prompt) -> None:
        if prompt.places[-1] < 0:
            raise invalid_request("the chat template ends with an image; it should begin the answer after it")
        most = max(picture.tokens for picture in prompt.pictures)
        if self.together is not None and most > self.together:
            raise invalid_request(
                f"an image takes {most} tokens, which this model must read together, and model.model_kwargs.n_ubatch "
                f"allows {self.together}: raise it, or give a smaller image"
            )


def _unfit(path: Path, why: str) -> str:
    return (
        f"model.model_kwargs.mmproj: {path.absolute()} is no projector of this model: {why.strip()}. "
        "It should be the GGUF file with `mmproj` in its name that belongs to the very model"
    )


def _input(text: str) -> Any:
    """A prompt as llama.cpp takes it. The template has written every special token, the first included."""
    data = text.encode()
    given: Any = mtmd().mtmd_input_text()
    given.text, given.add_special, given.parse_special = data, False, True
    if hasattr(given, "text_len"):  # Earlier releases look for a zero.
        given.text_len = len(data)
    return given


@contextmanager
def _bitmaps(images: Sequence[tuple[str, Any]]) -> Generator[Any]:
    """The images, with their names, as llama.cpp takes them."""
    made = (mtmd().mtmd_bitmap_p_ctypes * len(images))()
    try:
        for place, (name, image) in enumerate(images):
            data: bytes = image.tobytes()
            made[place] = mtmd().mtmd_bitmap_init(*image.size, (ctypes.c_uint8 * len(data)).from_buffer_copy(data))
            mtmd().mtmd_bitmap_set_id(made[place], name.encode())
        yield made
    finally:
        for bitmap in filter(None, made):
            mtmd().mtmd_bitmap_free(bitmap)


def _each(chunks: Any) -> Iterator[Any]:
    for index in range(mtmd().mtmd_input_chunks_size(chunks)):
        yield mtmd().mtmd_input_chunks_get(chunks, index)


def _number(chunk: Any, ordinal: int) -> int:
    """A negative number for a picture. An image may be cut into several; the ordinal tells them apart."""
    image: bytes = mtmd().mtmd_input_chunk_get_id(chunk)
    return -1 - int.from_bytes(blake2b(b"%d:%b" % (ordinal, image), digest_size=16).digest())


def _once(free: Callable[[], None]) -> Callable[[], None]:
    """`free`, of which only the first call does anything."""
    left = [free]
    return lambda: left.pop()() if left else None
