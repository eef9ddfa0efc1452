"""Runs `llama_cpp.server` in such a way that it does not crash on processors with AMX."""

from __future__ import annotations

import runpy
from importlib import import_module

from asyncinfer.engines.local.llama_cpp.compat import llama_class

if __name__ == "__main__":
    import_module("llama_cpp").Llama = llama_class()
    runpy.run_module("llama_cpp.server", run_name="__main__")
