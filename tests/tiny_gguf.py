"""GGUF files of random weights, the same each time: projectors that read small images, and an adapter, which go with
SmolLM2-135M where nothing else is said; and models of text.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

WIDTH, LAYERS = 576, 30
PATCH = 8
_EYE, _MERGE = 64, 2
Shapes = Iterator[tuple[str, tuple[int, ...]]]


def projector(file: Path, kind: str = "mlp", *, width: int = WIDTH, side: int = 48) -> Path:
    """A projector of this kind, as llama.cpp calls it. Of images of `side` pixels, "mlp" (LLaVA) makes a token a patch;
    the others a token of four. "gemma3" has its tokens read all at once; "idefics3" has special tokens around them;
    "qwen2vl_merger" takes images of any size.
    """
    sizes = {"image_size": side, "patch_size": PATCH, "embedding_length": _EYE, "feed_forward_length": 2 * _EYE}
    sizes |= {"block_count": 2, "projection_dim": width, "attention.head_count": 2}
    sizes |= {"projector.scale_factor": _MERGE, "spatial_merge_size": _MERGE} if kind != "mlp" else {}
    writer = _writer(file, "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_bool("clip.use_gelu", True)
    writer.add_string("clip.projector_type", kind)
    for name, size in sizes.items():
        writer.add_uint32(f"clip.vision.{name}", size)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    for name in ("mean", "std"):
        writer.add_array(f"clip.vision.image_{name}", [0.5, 0.5, 0.5])
    return _write(writer, file, _eye(kind, (side // PATCH) ** 2, width))


def text_model(file: Path, kind: str = "qwen2vl", *, width: int = 64, experts: int = 0) -> Path:
    """A model of text whose tokens are letters, of 32 bits a weight. To that of kind "qwen2vl" an image is flat: it counts
    positions in two dimensions. That of kind "llama" may have experts, of which a token is read by two.
    """
    writer = _writer(file, kind)
    sizes = {"block_count": 2, "context_length": 1024, "embedding_length": width, "feed_forward_length": 2 * width}
    sizes |= {"expert_count": experts, "expert_used_count": 2} if experts else {}
    for name, size in {**sizes, "attention.head_count": 2, "attention.head_count_kv": 2}.items():
        writer.add_uint32(f"{kind}.{name}", size)
    writer.add_float32(f"{kind}.attention.layer_norm_rms_epsilon", 1e-6)
    writer.add_float32(f"{kind}.rope.freq_base", 10000.0)
    if kind == "qwen2vl":
        writer.add_array("qwen2vl.rope.dimension_sections", [4, 6, 6, 0])
    words = _add_letters(writer)
    return _write(writer, file, _speech(words, width, experts))


def lora(file: Path, *, layers: int = LAYERS, width: int = WIDTH) -> Path:
    """A LoRA adapter, strong enough that answers differ from the bare model's."""
    writer = _writer(file, "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 1.0)
    weights = (f"blk.{layer}.attn_{which}.weight.lora_" for layer in range(layers) for which in ("q", "output"))
    pairs = (((f"{name}a", (4, width)), (f"{name}b", (width, 4))) for name in weights)
    return _write(writer, file, chain.from_iterable(pairs))


def _eye(kind: str, patches: int, width: int) -> Shapes:
    yield "v.patch_embd.weight", (_EYE, 3, PATCH, PATCH)
    if kind == "qwen2vl_merger":
        yield "v.patch_embd.weight.1", (_EYE, 3, PATCH, PATCH)
    else:
        yield "v.position_embd.weight", (patches, _EYE)
    for block in range(2):
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            yield from _layer(f"v.blk.{block}.{name}", _EYE, _EYE)
        yield from _layer(f"v.blk.{block}.ffn_up", 2 * _EYE, _EYE)
        yield from _layer(f"v.blk.{block}.ffn_down", _EYE, 2 * _EYE)
        yield from _layer(f"v.blk.{block}.ln1", _EYE)
        yield from _layer(f"v.blk.{block}.ln2", _EYE)
    yield from _layer("v.post_ln", _EYE)
    yield from _joint(kind, width)


def _joint(kind: str, width: int) -> Shapes:
    merged = _EYE * _MERGE**2
    if kind == "mlp":
        yield from _layer("mm.0", width, _EYE)
        yield from _layer("mm.2", width, width)
    elif kind == "gemma3":
        yield "mm.input_projection.weight", (_EYE, width)
        yield "mm.soft_emb_norm.weight", (_EYE,)
    elif kind == "idefics3":
        yield "mm.model.fc.weight", (width, merged)
    else:
        yield from _layer("mm.0", merged, merged)
        yield from _layer("mm.2", width, merged)


def _speech(words: int, width: int, experts: int) -> Shapes:
    yield "token_embd.weight", (words, width)
    yield "output_norm.weight", (width,)
    for block in range(2):
        for name in ("attn_q", "attn_k", "attn_v"):
            yield from _layer(f"blk.{block}.{name}", width, width)
        yield f"blk.{block}.attn_output.weight", (width, width)
        yield f"blk.{block}.attn_norm.weight", (width,)
        yield f"blk.{block}.ffn_norm.weight", (width,)
        kind, each = ("_exps", (experts,)) if experts else ("", ())
        yield f"blk.{block}.ffn_gate{kind}.weight", (*each, 2 * width, width)
        yield f"blk.{block}.ffn_up{kind}.weight", (*each, 2 * width, width)
        yield f"blk.{block}.ffn_down{kind}.weight", (*each, width, 2 * width)
        if experts:
            yield f"blk.{block}.ffn_gate_inp.weight", (experts, width)


def _layer(name: str, *shape: int) -> Shapes:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _writer(file: Path, kind: str) -> Any:
    return import_module("gguf").GGUFWriter(file, kind)


def _write(writer: Any, file: Path, shapes: Shapes) -> Path:
    numpy: Any = import_module("numpy")
    random = numpy.random.default_rng(0)
    for name, shape in shapes:
        weights = random.standard_normal(shape)
        if len(shape) > 1:
            weights /= numpy.prod(shape[1:]) ** 0.5
        else:
            weights = 0.1 * weights + name.endswith("weight")  # Of a norm.
        writer.add_tensor(name, weights.astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_letters(writer: Any) -> int:
    """A vocabulary of ASCII's letters, a pair, and ChatML's marks; how many tokens it has."""
    # GPT-2 spells a space and the end of a line with these two.
    words = [*map(chr, range(33, 127)), "\u0120", "\u010a", "he"]
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words + marks)
    writer.add_token_types([1] * len(words) + [3] * len(marks))
    writer.add_token_merges(["h e"])
    writer.add_eos_token_id(len(words) + len(marks) - 1)
    return len(words) + len(marks)
