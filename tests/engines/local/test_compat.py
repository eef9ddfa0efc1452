"""Access to the internals of libraries is in one module per library, and process-wide changes are listed and undone."""

from __future__ import annotations

import ast
import gc
import os
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import asyncinfer
from asyncinfer.engines.local import PROCESS_WIDE_CHANGES
from asyncinfer.engines.local.gguf import find_local
from tests.smollm2 import PACKAGED

PACKAGE = Path(asyncinfer.__file__).parent
LOCAL = PACKAGE / "engines" / "local"
LIBRARIES = ("llama_cpp", "transformers", "vllm")
# Methods that named tuples document in spite of the underscore, and objects of the package's own classes.
DOCUMENTED, OWN = {"_replace"}, {"self", "cls", "other"}
# What changes the state of the whole process.
CHANGES = re.compile(
    r"gc\.(set_threshold|freeze)\(|os\.environ\[.*\] =|\bdel os\.environ|\.dlopen|_log_set\(|\.set_num_threads = "
    r"|\.addHandler\(|random\.setstate\(|manual_seed\(|\bcore\.\w+ = |\bmodule\.\w+ = |faulthandler\.|signal\.signal\("
)


def private_access(path: Path) -> Iterator[str]:
    """Accesses to private attributes of objects of other packages."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            is_own = isinstance(node.value, ast.Name) and node.value.id in OWN
            if not is_own and node.attr not in DOCUMENTED:
                yield f"{path.relative_to(PACKAGE)}:{node.lineno} {node.attr}"


@pytest.mark.parametrize("library", LIBRARIES)
def test_only_the_compat_module_accesses_private_attributes(library: str) -> None:
    files = [path for path in (LOCAL / library).glob("*.py") if path.name != "compat.py"]
    assert files
    assert [access for path in files for access in private_access(path)] == []


@pytest.mark.parametrize(
    ("library", "module"),
    [("vllm", r"[\"']vllm\."), ("llama_cpp", r"[\"']llama_cpp\b"), ("transformers", r"[\"']transformers\.")],
)
def test_only_the_compat_module_imports_modules_of_the_library(library: str, module: str) -> None:
    imports = re.compile(rf"(import_module|_module)\({module}")
    assert imports.search((LOCAL / library / "compat.py").read_text())
    for path in (LOCAL / library).glob("*.py"):
        assert path.name == "compat.py" or not imports.search(path.read_text()), path


def test_every_process_wide_change_is_listed() -> None:
    files = [*LOCAL.rglob("*.py"), PACKAGE / "aio" / "gc_tuning.py"]
    changing = {str(path.relative_to(PACKAGE)) for path in files if CHANGES.search(path.read_text())}
    assert changing == {change.module for change in PROCESS_WIDE_CHANGES}


needs_llama_cpp = pytest.mark.skipif(find_spec("llama_cpp") is None, reason="needs the extra llamacpp")


@pytest.fixture
def callbacks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The log callbacks that are set in llama.cpp, in order."""
    llama: Any = import_module("llama_cpp")
    original, found = llama.llama_log_set, list[Any]()

    def record(callback: Any, data: Any) -> None:
        found.append(callback)
        original(callback, data)

    monkeypatch.setattr(llama, "llama_log_set", record)
    return found


@needs_llama_cpp
def test_log_callback_of_llama_cpp_is_restored_after_the_last_engine(callbacks: list[Any]) -> None:
    from asyncinfer.engines.local.llama_cpp.compat import attach_log

    first, second = attach_log(verbose=False), attach_log(verbose=False)
    assert len(callbacks) == 1
    first()
    first()
    assert len(callbacks) == 1
    second()
    assert callbacks[1] is import_module("llama_cpp._logger").llama_log_callback


@needs_llama_cpp
def test_messages_of_llama_cpp_belong_to_the_engine_of_their_thread(
    callbacks: list[Any], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from asyncinfer.engines.local.llama_cpp.compat import attach_log, recent_errors

    monkeypatch.setattr(import_module("llama_cpp._logger"), "llama_log_callback", lambda *_: others.append("message"))
    others, errors = list[str](), dict[bool, str]()

    def run(verbose: bool) -> None:
        detach = attach_log(verbose=verbose)
        callbacks[0](4, f"failed {verbose}\n".encode(), None)
        errors[verbose] = recent_errors()
        detach()

    keep = attach_log(verbose=False)
    for verbose in (True, False):
        thread = threading.Thread(target=run, args=(verbose,))
        thread.start()
        thread.join()
    outside = threading.Thread(target=callbacks[0], args=(4, b"not ours\n", None))
    outside.start()
    outside.join()
    assert errors == {True: "failed True", False: "failed False"}
    assert capfd.readouterr() == ("", "failed True\n")
    assert (others, recent_errors()) == (["message"], "")
    monkeypatch.undo()
    keep()


@needs_llama_cpp
def test_output_suppression_of_llama_cpp_is_restored_after_loading() -> None:
    from asyncinfer.engines.local.llama_cpp.compat import unsuppressed_output

    module: Any = import_module("llama_cpp._internals")
    original = module.suppress_stdout_stderr
    with unsuppressed_output(), unsuppressed_output():
        assert module.suppress_stdout_stderr is not original
    assert module.suppress_stdout_stderr is original


# torch and vLLM give deprecation warnings while they load.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.heavy
@pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM")
def test_cleanup_of_vllm_is_restored_after_the_last_engine() -> None:
    from asyncinfer.engines.local.vllm import compat

    core: Any = import_module("vllm.v1.engine.core")
    original = core.cleanup_dist_env_and_memory
    compat.protect_shared_state()
    engine = object()
    compat.add_loaded(engine)
    core.cleanup_dist_env_and_memory()
    compat.release_shared_state()
    assert core.cleanup_dist_env_and_memory is not original
    compat.remove_loaded(engine)
    compat.release_shared_state()
    assert core.cleanup_dist_env_and_memory is original


def test_files_that_llama_cpp_never_closes_cause_no_warning_at_exit() -> None:
    from asyncinfer.engines.local.llama_cpp import compat

    null = Path(os.devnull)
    utils = SimpleNamespace(outnull_file=null.open("w"), errnull_file=null.open("w"))
    compat.allow_open_files(utils)
    os.fstat(utils.outnull_file.fileno())
    assert print("lost", file=utils.errnull_file) is None
    for name in ("outnull_file", "errnull_file"):
        delattr(utils, name)  # pytest turns a warning of the destructor into a failure.
    gc.collect()


def test_llama_cpp_that_was_compiled_for_amx_runs_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from asyncinfer.engines.local.llama_cpp import compat

    monkeypatch.setattr(compat.api(), "llama_print_system_info", lambda: b"CPU : AVX2 = 1 | AMX_INT8 = 1 | ")
    compat.llama_class.cache_clear()
    try:
        with closing(compat.llama_class()(str(find_local(PACKAGED)), vocab_only=True, verbose=False)) as llm:
            assert not llm.model_params.use_extra_bufts
            assert llm.model_params.vocab_only
    finally:
        compat.llama_class.cache_clear()
