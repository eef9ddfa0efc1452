"""Models of random weights, as folders that Transformers loads: small enough to answer at once."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

IMAGE = "<image>"
VISION_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% for part in m.content %}{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{{ '<|im_start|>assistant\\n' }}"
)
_SIZE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def llama(folder: Path, tokenizer: Path, **config: Any) -> Path:
    """A text model with the tokenizer of the folder `tokenizer`."""
    return _text_model("Llama", folder, tokenizer, config)


def mistral(folder: Path, tokenizer: Path, **config: Any) -> Path:
    """A text model that looks back at a few tokens only."""
    return _text_model("Mistral", folder, tokenizer, {"num_key_value_heads": 2, "sliding_window": 8, **config})


def _text_model(kind: str, folder: Path, tokenizer: Path, config: dict[str, Any]) -> Path:
    transformers, tokens = _transformers(), _tokenizer(tokenizer)
    made = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokens), max_position_embeddings=256, eos_token_id=2, bos_token_id=1, **_SIZE, **config
    )
    transformers.set_seed(0)
    _save(getattr(transformers, f"{kind}ForCausalLM")(made), tokens, folder)
    return folder


def llava(folder: Path, tokenizer: Path) -> Path:
    """A model that sees images of 32 by 32 pixels as 16 tokens."""
    transformers, tokens = _transformers(), _tokenizer(tokenizer)
    tokens.add_tokens([IMAGE], special_tokens=True)
    image = tokens.convert_tokens_to_ids(IMAGE)
    sight = transformers.CLIPVisionConfig(image_size=32, patch_size=8, **_SIZE)
    speech = transformers.LlamaConfig(vocab_size=len(tokens), max_position_embeddings=256, eos_token_id=2, **_SIZE)
    transformers.set_seed(0)
    model = transformers.LlavaForConditionalGeneration(
        transformers.LlavaConfig(vision_config=sight, text_config=speech, image_token_id=image)
    )
    processor = transformers.LlavaProcessor(
        image_processor=transformers.CLIPImageProcessorPil(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ),
        tokenizer=tokens,
        patch_size=8,
        vision_feature_select_strategy="default",
        image_token=IMAGE,
        num_additional_image_tokens=1,
        chat_template=VISION_TEMPLATE,
    )
    _save(model, processor, folder)
    return folder


def _save(model: Any, reader: Any, folder: Path) -> None:
    # Random weights say almost the same after every prompt; larger ones tell prompts apart.
    torch: Any = import_module("torch")
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(8.0 if weights.dim() > 1 else 1.0)
    model.save_pretrained(folder)
    reader.save_pretrained(folder)


def _tokenizer(folder: Path) -> Any:
    return _transformers().AutoTokenizer.from_pretrained(folder)


def _transformers() -> Any:
    return import_module("transformers")
