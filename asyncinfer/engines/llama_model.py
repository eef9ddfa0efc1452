"""llama.cpp behind a typed face: the only place that calls `llama_cpp`."""

from __future__ import annotations

import ctypes
import logging
import os
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from asyncinfer.engines.chat_prompt import Render
from asyncinfer.errors import ConfigError

log = logging.getLogger("asyncinfer.llama_cpp")

DEFAULT_CONTEXT = 4096
# As in the system this re-implements, which leaves top-k at llama-cpp-python's default.
TOP_K = 40
PENALTY_WINDOW = 64
_ERROR_LEVEL = 4
_complaints: deque[str] = deque(maxlen=3)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are picked. Temperature 0 takes the likeliest; `grammar` is GBNF text."""

    temperature: float = 0.0
    top_p: float = 1.0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int = 0
    logit_bias: Mapping[int, float] = field(default_factory=dict[int, float])
    grammar: str | None = None


class Sampler:
    """Picks the next token of one row, and remembers those it picked."""

    def __init__(self, chain: Any, context: Any) -> None:
        self._chain, self._context = chain, context

    def sample(self) -> int:
        return _api().llama_sampler_sample(self._chain, self._context, -1)

    def close(self) -> None:
        _api().llama_sampler_free(self._chain)


class LlamaModel:
    """A loaded model and its one context.

    What the context holds of a prompt is kept for the next one that begins alike. Which rows came
    before never changes an answer: only tokens that were evaluated in a batch are kept, and at least two
    are evaluated anew, as one token alone is computed by other kernels, with other rounding.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Raises ConfigError when llama.cpp cannot load the file with these settings."""
        self._llm = _load(path, settings)
        self._vocab = _api().llama_model_get_vocab(self._llm.model)
        self._pieces: dict[tuple[int, bool], bytes] = {}
        self._templates: dict[str, Render] = {}
        self._prompt: list[int] = []
        self.trained_context: int = _api().llama_model_n_ctx_train(self._llm.model)
        self.context: int = settings.get("n_ctx") or min(self._llm.n_ctx(), self.trained_context)
        self.chat_template: str | None = self._llm.metadata.get("tokenizer.chat_template")
        self.vocabulary: int = self._llm.n_vocab()
        # A processor gains nothing from larger batches, and a cancelled row is let go between two.
        # Never one token alone, which is rounded otherwise.
        self.batch: int = max(min(self._llm.n_batch, 2**31 if _api().llama_supports_gpu_offload() else 128), 2)

    def render(self, template: str) -> Render:
        """The function that renders `template`; raises ConfigError if it is not valid Jinja."""
        if template not in self._templates:
            self._templates[template] = self._compile(template)
        return self._templates[template]

    def tokenize(self, text: str) -> list[int]:
        """The template has written every special token, the first included."""
        return self._llm.tokenize(text.encode("utf-8"), add_bos=False, special=True)

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The token's bytes: none for a control token, unless `special`."""
        key = (token, special)
        if key not in self._pieces:
            self._pieces[key] = self._read_piece(token, special)
        return self._pieces[key]

    def is_end(self, token: int) -> bool:
        return _api().llama_vocab_is_eog(self._vocab, token)

    def begin(self, prompt: Sequence[int]) -> int:
        """Prepare for `prompt`; how many of its tokens are evaluated already."""
        keep = min(_common(self._prompt, prompt), len(prompt) - 2)
        memory = _api().llama_get_memory(self._llm.ctx)
        if keep > 0 and _api().llama_memory_seq_rm(memory, 0, keep, -1):
            self._llm.n_tokens = keep
        else:
            keep = 0
            self._llm.reset()
        self._prompt = list(prompt[:keep])
        return keep

    def read(self, tokens: Sequence[int]) -> None:
        """Evaluate the next tokens of the prompt."""
        self._llm.eval(tokens)
        self._prompt.extend(tokens)

    def write(self, token: int) -> None:
        """Evaluate a token of the answer."""
        self._llm.eval([token])

    def sampler(self, sampling: Sampling) -> Sampler:
        """Raises ValueError when llama.cpp does not understand the grammar."""
        api = _api()
        chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
        for link in self._links(sampling):
            if not link:
                api.llama_sampler_free(chain)
                raise ValueError("; ".join(_complaints) or "llama.cpp does not understand this grammar")
            api.llama_sampler_chain_add(chain, link)
        return Sampler(chain, self._llm.ctx)

    def close(self) -> None:
        self._llm.close()

    def _links(self, s: Sampling) -> Iterator[Any]:
        """The links of the chain, in the order in which llama-cpp-python has them."""
        api = _api()
        if s.logit_bias:
            biases = (api.llama_logit_bias * len(s.logit_bias))(*s.logit_bias.items())
            yield api.llama_sampler_init_logit_bias(self.vocabulary, len(s.logit_bias), biases)
        if s.frequency_penalty or s.presence_penalty:
            yield api.llama_sampler_init_penalties(
                self.vocabulary, PENALTY_WINDOW, 1.0, s.frequency_penalty, s.presence_penalty
            )
        if s.grammar is not None:
            yield api.llama_sampler_init_grammar(self._vocab, s.grammar.encode("utf-8"), b"root")
        if s.temperature == 0.0:
            yield api.llama_sampler_init_greedy()
            return
        yield api.llama_sampler_init_top_k(TOP_K)
        yield api.llama_sampler_init_top_p(s.top_p, 1)
        yield api.llama_sampler_init_min_p(s.min_p, 1)
        yield api.llama_sampler_init_temp(s.temperature)
        yield api.llama_sampler_init_dist(s.seed)

    def _read_piece(self, token: int, special: bool, size: int = 64) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        length = _api().llama_token_to_piece(self._vocab, token, buffer, size, 0, special)
        return self._read_piece(token, special, -length) if length < 0 else buffer.raw[:length]

    def _compile(self, template: str) -> Render:
        formats: Any = import_module("llama_cpp.llama_chat_format")
        try:
            formatter = formats.Jinja2ChatFormatter(
                template=template,
                eos_token=self._text(self._llm.token_eos()),
                bos_token=self._text(self._llm.token_bos()),
            )
        except Exception as error:
            raise ConfigError(f"model.chat_template: not a valid Jinja template: {error}") from error

        def render(**values: Any) -> str:
            return formatter(**values).prompt

        return render

    def _text(self, token: int) -> str:
        return "" if token == -1 else _api().llama_vocab_get_text(self._vocab, token).decode("utf-8")


def model_options() -> set[str]:
    """The names that `model_kwargs` may hold for llama.cpp."""
    parameters = signature(_api().Llama.__init__).parameters.values()
    named = {p.name for p in parameters if p.kind is Parameter.KEYWORD_ONLY}
    # The chat format is ours to apply: `model.chat_template`.
    return named - {"chat_format", "chat_handler", "tokenizer", "draft_model", "embedding", "vocab_only"}


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _load(path: Path, settings: Mapping[str, Any]) -> Any:
    api = _api()
    given = {**_defaults(), **{name: value for name, value in settings.items() if value is not None}}
    _direct_log(bool(given["verbose"]))
    try:
        return api.Llama(model_path=str(path), **given)
    except Exception as error:
        reasons = "; ".join(_complaints) or str(error)
        raise ConfigError(
            f"model.model_name: llama.cpp cannot load {path.absolute()}: {reasons}. Check that the file is a "
            "whole GGUF file (download it again) and that model_kwargs suit this machine"
        ) from error


def _defaults() -> dict[str, Any]:
    """Measured: on a processor, flash attention is a quarter slower at 2,000 tokens of context."""
    return {
        "n_ctx": DEFAULT_CONTEXT,
        "n_gpu_layers": -1,
        "n_threads": cores(),
        "n_threads_batch": cores(),
        "use_mmap": True,
        "use_mlock": False,
        "flash_attn": _api().llama_supports_gpu_offload(),
        "verbose": False,
    }


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    for length, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return length
    return min(len(a), len(b))


@cache
def _api() -> Any:
    api = import_module("llama_cpp")
    # It would point stdout and stderr of the whole process at /dev/null while it loads a model, and
    # with them whatever the program's other threads print. The log callback is all that is needed.
    for name in ("llama_cpp.llama", "llama_cpp._internals"):
        import_module(name).suppress_stdout_stderr = _leave_streams_alone  # type: ignore[attr-defined]
    return api


@contextmanager
def _leave_streams_alone(disable: bool = True) -> Generator[None]:
    yield


def _direct_log(verbose: bool) -> None:
    """Send llama.cpp's log to stderr, or to our logger at level debug. There is one log for the process."""
    _complaints.clear()
    theirs: Any = import_module("llama_cpp._logger").llama_log_callback
    _api().llama_log_set(theirs if verbose else _our_log(), None)


@cache
def _our_log() -> Any:
    def receive(level: int, text: bytes, _: object) -> None:
        line = text.decode("utf-8", "replace").strip()
        if level == _ERROR_LEVEL and line:
            _complaints.append(line)
        if line:
            log.debug("%s", line)

    return _api().llama_log_callback(receive)
