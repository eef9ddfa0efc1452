"""Renders a conversation to the prompt of a llama.cpp sequence."""

from __future__ import annotations

from asyncinfer.engines.local.images import image_bytes
from asyncinfer.engines.local.llama_cpp.model import LlamaModel
from asyncinfer.engines.local.llama_cpp.prompt import Prompt
from asyncinfer.engines.local.request import Request
from asyncinfer.errors import invalid_request


def build_prompt(request: Request, model: LlamaModel) -> Prompt:
    """The prompt of a row. The caller must close it.

    Raises:
        RequestError: The template, the projector or the context does not support this conversation.
    """
    text = model.renderer(request)
    has_images = any(message.contains_images() for message in request.conversation.messages)
    if has_images and model.vision is not None:
        prompt = model.vision.prompt(text, image_bytes(request.conversation))
    else:
        prompt = Prompt(model.tokenize(text))
    try:
        _check_size(prompt, model)
    except BaseException:
        prompt.close()
        raise
    return prompt


def _check_size(prompt: Prompt, model: LlamaModel) -> None:
    if not prompt.positions:
        raise invalid_request("the chat template renders this conversation to nothing")
    if prompt.size >= model.context_length:
        images = sum(image.tokens for image in prompt.images)
        share = f", {images} of them for images" if images else ""
        raise invalid_request(
            f"the prompt has {prompt.size} tokens{share}, the context holds {model.context_length}. "
            f"Raise model.model_max_length (the model was trained with {model.trained_context})"
            f"{', or set model.model_kwargs.image_max_tokens' if images else ''}"
        )
