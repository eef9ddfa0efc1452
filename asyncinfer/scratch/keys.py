"""A row's identity: a hash of everything that determines its answer, and of nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel
from pydantic_core import to_json

from asyncinfer.config import GenerationParams, GuidedDecodingParams, ModelParams, RemoteParams
from asyncinfer.scratch.index import KEY_BYTES
from asyncinfer.scratch.model_files import ModelFile
from asyncinfer.types.conversation import FILE_PATHS, ContentItem, Conversation, Message
from asyncinfer.types.files import read_file

# Every config field is in one of the two; a test holds that. IN: another value may give another answer.
IN: dict[type[BaseModel], frozenset[str]] = {
    ModelParams: frozenset(
        [
            "model_name",
            "adapter_model",
            "tokenizer_name",
            "tokenizer_pad_token",
            "tokenizer_kwargs",
            "processor_kwargs",
            "model_max_length",
            "load_pretrained_weights",
            "torch_dtype_str",
            "chat_template",
            "chat_template_kwargs",
            "model_kwargs",
            "model_revision",
            "tool_call_parser",
        ]
    ),
    GenerationParams: frozenset(
        [
            "max_new_tokens",
            "exclude_prompt_from_response",
            "seed",
            "temperature",
            "top_p",
            "frequency_penalty",
            "presence_penalty",
            "stop_strings",
            "stop_token_ids",
            "logit_bias",
            "min_p",
            "num_beams",
            "use_sampling",
            "guided_decoding",
            "skip_special_tokens",
            "tool_choice",
            "parallel_tool_calls",
            "extra_body",
        ]
    ),
    GuidedDecodingParams: frozenset(["json", "regex", "choice", "strict"]),
    RemoteParams: frozenset({"api_url"}),
}
OUT: dict[type[BaseModel], frozenset[str]] = {
    ModelParams: frozenset(
        [
            "trust_remote_code",
            "allow_private_urls",
            "max_image_pixels",
            "compile",
            "attn_implementation",
            "device_map",
            "enable_liger_kernel",
            "shard_for_eval",
            "freeze_layers",
        ]
    ),
    GenerationParams: frozenset({"batch_size", "use_cache"}),
    GuidedDecodingParams: frozenset(),
    RemoteParams: frozenset(
        [
            "api_key",
            "api_key_env_varname",
            "user_id",
            "max_retries",
            "retry_backoff_base",
            "retry_backoff_max",
            "max_wait",
            "max_outage",
            "connection_timeout",
            "stream_idle_timeout",
            "max_response_bytes",
            "max_compression_ratio",
            "num_workers",
            "requests_per_minute",
            "input_tokens_per_minute",
            "output_tokens_per_minute",
            "politeness_policy",
            "batch_completion_window",
            "use_adaptive_concurrency",
        ]
    ),
}
# Options of Hugging Face constructors that hold access tokens.
_HUB_TOKENS = frozenset({"token", "hf_token", "use_auth_token"})
# These model_kwargs say how a local model is run or downloaded. They do not change its answers.
MODEL_KWARGS_OUT = frozenset(
    [
        "n_threads",
        "n_threads_batch",
        "n_batch",
        "n_ubatch",
        "n_gpu_layers",
        "use_mmap",
        "use_mlock",
        "low_vram",
        "verbose",
        "numa",
        "no_perf",
        "main_gpu",
        "split_mode",
        "tensor_split",
        "offload_kqv",
        "op_offload",
        "flash_attn",
        "device_map",
        "cache_dir",
        "local_dir",
        "gpu_memory_utilization",
        "max_num_seqs",
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "enable_prefix_caching",
        "n_parallel",
        "kv_unified",
        *_HUB_TOKENS,
    ]
)


class RowKeys:
    """Makes the keys of one run's rows. The settings that all rows share are hashed once.

    Args:
        files: The files of a local model.
    """

    def __init__(
        self,
        engine: str,
        model: ModelParams,
        generation: GenerationParams,
        remote: RemoteParams | None = None,
        files: Sequence[ModelFile] = (),
    ) -> None:
        self._shared = blake2b(digest_size=KEY_BYTES)
        self._shared.update(to_json([engine, _model(model), _in(generation), _remote(remote)]))
        if files:
            self._shared.update(to_json(files))

    def __call__(self, conversation: Conversation) -> bytes:
        """The conversation's key. Its id and metadata do not count; the bytes of its local files do.

        Raises:
            InputError: a file cannot be read.
        """
        digest = self._shared.copy()
        for message in conversation.messages:
            _add_message(digest.update, message)
        if conversation.tools:
            digest.update(to_json([tool.model_dump(mode="json") for tool in conversation.tools]))
        return digest.digest()

    def run_hash(self, keys: bytes | bytearray) -> str:
        """A name for the whole run, in hex: its settings and its rows' keys, end to end."""
        digest = self._shared.copy()
        digest.update(keys)
        return digest.hexdigest()


def row_id(key: bytes, n: int) -> str:
    """The conversation id of a row that came without one."""
    return f"{key.hex()}-{n}" if n else key.hex()


def _add_message(update: Any, message: Message) -> None:
    # Lengths keep neighbours apart: ("ab", "c") and ("a", "bc") must differ.
    content = message.content
    if isinstance(content, str):
        data = content.encode()
        update(b"%b:%d:%b" % (message.role.encode(), len(data), data))
    else:
        update(b"%b;" % message.role.encode())
        for item in content or ():
            _add_item(update, item)
    extra = message.__pydantic_extra__
    if message.tool_calls or message.tool_call_id or message.reasoning_content or message.name or extra:
        calls = [call.model_dump(mode="json") for call in message.tool_calls or ()]
        update(to_json([calls, message.tool_call_id, message.reasoning_content, message.name, extra]))


def _add_item(update: Any, item: ContentItem) -> None:
    binary = item.binary
    named = item.type in FILE_PATHS
    if binary is None and named and item.content:
        binary = read_file(item.content)
    # Two paths to the same file ask the same thing.
    text = None if named else item.content
    digest = blake2b(binary).hexdigest() if binary is not None else None
    update(to_json([item.type, text, digest, item.model_extra]))


def _in(params: BaseModel) -> dict[str, Any]:
    """The fields that count and differ from their defaults, so that a new field changes no old key."""
    counted: dict[str, Any] = {}
    for name in sorted(IN[type(params)]):
        value = getattr(params, name)
        if value != type(params).model_fields[name].get_default(call_default_factory=True):
            counted[name] = _plain(value)
    return counted


def _plain(value: Any) -> Any:
    if isinstance(value, GuidedDecodingParams):
        return _in(value) | {"json": value.schema_dict()}
    return _in(value) if isinstance(value, BaseModel) else value


def _model(model: ModelParams) -> dict[str, Any]:
    counted = _in(model)
    kwargs = {k: str(v) for k, v in sorted(model.model_kwargs.items()) if k not in MODEL_KWARGS_OUT}
    counted.pop("model_kwargs", None)
    for name in ("tokenizer_kwargs", "processor_kwargs"):
        if name in counted and not _HUB_TOKENS.isdisjoint(counted[name]):
            counted[name] = {key: value for key, value in counted[name].items() if key not in _HUB_TOKENS}
    return counted | ({"model_kwargs": kwargs} if kwargs else {})


def _remote(remote: RemoteParams | None) -> str | None:
    """The endpoint without credentials: user, password and query may carry a key."""
    if remote is None or remote.api_url is None:
        return None
    try:
        url = urlsplit(remote.api_url)
    except ValueError:  # It is no URL; who asks it says so.
        return ""
    return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "", ""))
