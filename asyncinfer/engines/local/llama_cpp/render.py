"""A row's prompt: from its conversation to what a sequence of llama.cpp is to hold."""

from __future__ import annotations

from asyncinfer.engines.local.chat_prompt import in_text, prompt_for
from asyncinfer.engines.local.images import images_of
from asyncinfer.engines.local.llama_cpp.model import LlamaModel
from asyncinfer.engines.local.llama_cpp.prompt import Prompt
from asyncinfer.engines.local.llama_cpp.template import Template
from asyncinfer.engines.local.request import Request
from asyncinfer.errors import invalid_request


def prompt_of(request: Request, model: LlamaModel) -> Prompt:
    """The prompt, which is to be closed.

    Raises:
        RequestError: the template, the projector or the context does not take it.
    """
    template = _template(request, model)
    shows = any(message.contains_images() for message in request.conversation.messages)
    if shows and model.vision is None:
        raise invalid_request(
            "this model reads text only, and the conversation contains images; of a model that sees, "
            "set model.model_kwargs.mmproj to the projector"
        )
    content = template.content(in_text if model.vision is None else model.vision.in_text)
    text = prompt_for(request, template.render, takes_tools=template.takes_tools, content=content)
    if shows and model.vision is not None:
        prompt = model.vision.prompt(text, images_of(request.conversation))
    else:
        prompt = Prompt(model.tokenize(text))
    try:
        _check(prompt, model)
    except BaseException:
        prompt.close()
        raise
    return prompt


def _template(request: Request, model: LlamaModel) -> Template:
    source = request.model.chat_template or model.chat_template
    if source is None:
        raise invalid_request("the GGUF file has no chat template: set model.chat_template")
    return model.template(source)


def _check(prompt: Prompt, model: LlamaModel) -> None:
    if not prompt.places:
        raise invalid_request("the chat template renders this conversation to nothing")
    if prompt.size >= model.context_length:
        shown = sum(picture.tokens for picture in prompt.pictures)
        raise invalid_request(
            f"the prompt has {prompt.size} tokens{f', {shown} of them for images' if shown else ''}, the context holds "
            f"{model.context_length}: raise model.model_max_length (the model was trained with {model.trained_context})"
            f"{', or set model.model_kwargs.image_max_tokens' if shown else ''}"
        )
