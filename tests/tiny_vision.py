"""A model of random weights that reads images, as a folder that vLLM loads. Small enough to answer at once.

Idefics 3: what vLLM and Transformers need for most other models are CUDA builds.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}"
    "{% endif %}<|im_end|>\n{% endfor %}{{ '<|im_start|>assistant\\n' }}"
)
_SIZE = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
_MARKS = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]


def tiny_vision(folder: Path, tokenizer: Path) -> Path:
    """A model that sees images of 32 by 32 pixels as 4 tokens, with the tokenizer of the folder `tokenizer`."""
    transformers: Any = import_module("transformers")
    tokens = transformers.AutoTokenizer.from_pretrained(tokenizer)
    tokens.add_tokens(_MARKS, special_tokens=True)
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    speech = {"model_type": "llama", "vocab_size": len(tokens), "max_position_embeddings": 1024, **ends, **_SIZE}
    config = transformers.Idefics3Config(
        text_config={**speech, "num_key_value_heads": 2},
        vision_config={"image_size": 32, "patch_size": 8, **_SIZE},
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=2,
    )
    pixels = transformers.Idefics3ImageProcessorPil(
        size={"longest_edge": 32}, max_image_size={"longest_edge": 32}, do_image_splitting=False
    )
    _save(transformers, config, folder)
    processor = transformers.Idefics3Processor(pixels, tokens, image_seq_len=4, chat_template=TEMPLATE)
    processor.save_pretrained(folder)
    return folder


def _save(transformers: Any, config: Any, folder: Path) -> None:
    transformers.set_seed(0)
    model = transformers.Idefics3ForConditionalGeneration(config)
    # Random weights say almost the same after every prompt; larger ones tell prompts apart.
    with import_module("torch").no_grad():
        for weights in model.parameters():
            weights.mul_(8.0 if weights.dim() > 1 else 1.0)
    model.save_pretrained(folder)
