"""Asyncio-first inference for chat models.

`__all__` is the public API. What it names is imported when it is used for the first time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncinfer.aio.background_iterator import BackgroundIterator
    from asyncinfer.config import (
        AdaptiveConcurrencyParams,
        BatchParams,
        CostPerMillion,
        DistributedParams,
        EndpointParams,
        GenerationParams,
        GuidedDecodingParams,
        InferenceConfig,
        InferenceEngineType,
        InputParams,
        ModelParams,
        OutputParams,
        RemoteParams,
        ReplicaResources,
        TelemetryParams,
    )
    from asyncinfer.data.rows import Rows, rows_from
    from asyncinfer.engines.base import BaseInferenceEngine
    from asyncinfer.engines.calls import ainfer, infer, infer_interactive
    from asyncinfer.engines.distributed import DistributedInferenceEngine
    from asyncinfer.engines.hosted import *  # noqa: F403
    from asyncinfer.engines.local.llama_cpp.engine import LlamaCppInferenceEngine
    from asyncinfer.engines.local.request import Request
    from asyncinfer.engines.local.transformers.engine import NativeTextInferenceEngine
    from asyncinfer.engines.local.vllm.engine import VLLMInferenceEngine
    from asyncinfer.engines.registry import (
        build_engine,
        build_inference_engine,
        get_engine,
        register_engine,
        register_provider,
    )
    from asyncinfer.engines.remote import RemoteInferenceEngine
    from asyncinfer.engines.spec import EngineSpec
    from asyncinfer.errors import (
        AsyncInferError,
        BatchError,
        ConfigError,
        EngineConfigError,
        EngineDeadError,
        InferenceErrorType,
        InputError,
        MissingDependencyError,
        RequestError,
        ScratchError,
        ScratchLockedError,
        UnexpectedCancellationError,
    )
    from asyncinfer.run.bound_engine import BoundEngine, CallSettings
    from asyncinfer.run.events import (
        AttemptFailed,
        Latency,
        LimitsChanged,
        Observer,
        RowFailed,
        RowFinished,
        RowResumed,
        RowReused,
        RunEvent,
        RunWaits,
    )
    from asyncinfer.run.progress import OnProgress
    from asyncinfer.run.saver import RowOutcome
    from asyncinfer.run.stop import Stop
    from asyncinfer.types.answer import Completion
    from asyncinfer.types.batch import (
        BatchInfo,
        BatchListResponse,
        BatchResult,
        BatchStatus,
        FileInfo,
        FileListResponse,
    )
    from asyncinfer.types.content import ContentItem, Type
    from asyncinfer.types.conversation import Conversation, ConversationLike
    from asyncinfer.types.costs import RunCost
    from asyncinfer.types.estimates import Estimate, Interval
    from asyncinfer.types.finish_reason import FinishReason
    from asyncinfer.types.message import Message, Role
    from asyncinfer.types.results import (
        CommonFailure,
        EndpointSummary,
        FailureDetail,
        InferenceResult,
        Progress,
        RunState,
        RunSummary,
    )
    from asyncinfer.types.run_errors import (
        InferenceFailedError,
        InvalidAnswerError,
        RunInterruptedError,
        SpendingLimitError,
    )
    from asyncinfer.types.stream import StreamDelta, ToolCallDelta
    from asyncinfer.types.tools import ToolCall, ToolDefinition
    from asyncinfer.types.usage import Usage

    __version__: str

# Without the engine classes of the providers. See `__getattr__`.
__all__ = [
    "AdaptiveConcurrencyParams",
    "AsyncInferError",
    "AttemptFailed",
    "BackgroundIterator",
    "BaseInferenceEngine",
    "BatchError",
    "BatchInfo",
    "BatchListResponse",
    "BatchParams",
    "BatchResult",
    "BatchStatus",
    "BoundEngine",
    "CallSettings",
    "CommonFailure",
    "Completion",
    "ConfigError",
    "ContentItem",
    "Conversation",
    "ConversationLike",
    "CostPerMillion",
    "DistributedInferenceEngine",
    "DistributedParams",
    "EndpointParams",
    "EndpointSummary",
    "EngineConfigError",
    "EngineDeadError",
    "EngineSpec",
    "Estimate",
    "FailureDetail",
    "FileInfo",
    "FileListResponse",
    "FinishReason",
    "GenerationParams",
    "GuidedDecodingParams",
    "InferenceConfig",
    "InferenceEngineType",
    "InferenceErrorType",
    "InferenceFailedError",
    "InferenceResult",
    "InputError",
    "InputParams",
    "Interval",
    "InvalidAnswerError",
    "Latency",
    "LimitsChanged",
    "LlamaCppInferenceEngine",
    "Message",
    "MissingDependencyError",
    "ModelParams",
    "NativeTextInferenceEngine",
    "Observer",
    "OnProgress",
    "OutputParams",
    "Progress",
    "RemoteInferenceEngine",
    "RemoteParams",
    "ReplicaResources",
    "Request",
    "RequestError",
    "Role",
    "RowFailed",
    "RowFinished",
    "RowOutcome",
    "RowResumed",
    "RowReused",
    "Rows",
    "RunCost",
    "RunEvent",
    "RunInterruptedError",
    "RunState",
    "RunSummary",
    "RunWaits",
    "ScratchError",
    "ScratchLockedError",
    "SpendingLimitError",
    "Stop",
    "StreamDelta",
    "TelemetryParams",
    "ToolCall",
    "ToolCallDelta",
    "ToolDefinition",
    "Type",
    "UnexpectedCancellationError",
    "Usage",
    "VLLMInferenceEngine",
    "ainfer",
    "build_engine",
    "build_inference_engine",
    "get_engine",
    "infer",
    "infer_interactive",
    "register_engine",
    "register_provider",
    "rows_from",
]
_MODULES = {
    "AdaptiveConcurrencyParams": "asyncinfer.config",
    "BatchParams": "asyncinfer.config",
    "DistributedParams": "asyncinfer.config",
    "EndpointParams": "asyncinfer.config",
    "GenerationParams": "asyncinfer.config",
    "GuidedDecodingParams": "asyncinfer.config",
    "InferenceConfig": "asyncinfer.config",
    "InferenceEngineType": "asyncinfer.config",
    "InputParams": "asyncinfer.config",
    "ModelParams": "asyncinfer.config",
    "OutputParams": "asyncinfer.config",
    "RemoteParams": "asyncinfer.config",
    "ReplicaResources": "asyncinfer.config",
    "TelemetryParams": "asyncinfer.config",
    "AsyncInferError": "asyncinfer.errors",
    "ConfigError": "asyncinfer.errors",
    "EngineConfigError": "asyncinfer.errors",
    "EngineDeadError": "asyncinfer.errors",
    "InferenceErrorType": "asyncinfer.errors",
    "InputError": "asyncinfer.errors",
    "MissingDependencyError": "asyncinfer.errors",
    "RequestError": "asyncinfer.errors",
    "ScratchError": "asyncinfer.errors",
    "ScratchLockedError": "asyncinfer.errors",
    "UnexpectedCancellationError": "asyncinfer.errors",
    "Completion": "asyncinfer.types.answer",
    "BatchError": "asyncinfer.errors",
    "BatchInfo": "asyncinfer.types.batch",
    "BatchListResponse": "asyncinfer.types.batch",
    "BatchResult": "asyncinfer.types.batch",
    "BatchStatus": "asyncinfer.types.batch",
    "FileInfo": "asyncinfer.types.batch",
    "FileListResponse": "asyncinfer.types.batch",
    "ContentItem": "asyncinfer.types.content",
    "Conversation": "asyncinfer.types.conversation",
    "ConversationLike": "asyncinfer.types.conversation",
    "Message": "asyncinfer.types.message",
    "Role": "asyncinfer.types.message",
    "Type": "asyncinfer.types.content",
    "FinishReason": "asyncinfer.types.finish_reason",
    "CommonFailure": "asyncinfer.types.results",
    "EndpointSummary": "asyncinfer.types.results",
    "FailureDetail": "asyncinfer.types.results",
    "InferenceResult": "asyncinfer.types.results",
    "Progress": "asyncinfer.types.results",
    "RunState": "asyncinfer.types.results",
    "RunSummary": "asyncinfer.types.results",
    "InferenceFailedError": "asyncinfer.types.run_errors",
    "InvalidAnswerError": "asyncinfer.types.run_errors",
    "RunInterruptedError": "asyncinfer.types.run_errors",
    "StreamDelta": "asyncinfer.types.stream",
    "ToolCallDelta": "asyncinfer.types.stream",
    "ToolCall": "asyncinfer.types.tools",
    "ToolDefinition": "asyncinfer.types.tools",
    "Usage": "asyncinfer.types.usage",
    "BackgroundIterator": "asyncinfer.aio.background_iterator",
    "Observer": "asyncinfer.run.events",
    "OnProgress": "asyncinfer.run.progress",
    "Request": "asyncinfer.engines.local.request",
    "RowOutcome": "asyncinfer.run.saver",
    "Rows": "asyncinfer.data.rows",
    "rows_from": "asyncinfer.data.rows",
    "BaseInferenceEngine": "asyncinfer.engines.base",
    "DistributedInferenceEngine": "asyncinfer.engines.distributed",
    "EngineSpec": "asyncinfer.engines.spec",
    "BoundEngine": "asyncinfer.run.bound_engine",
    "CallSettings": "asyncinfer.run.bound_engine",
    "AttemptFailed": "asyncinfer.run.events",
    "Latency": "asyncinfer.run.events",
    "LimitsChanged": "asyncinfer.run.events",
    "RowFailed": "asyncinfer.run.events",
    "RowFinished": "asyncinfer.run.events",
    "RowResumed": "asyncinfer.run.events",
    "RunEvent": "asyncinfer.run.events",
    "RunWaits": "asyncinfer.run.events",
    "Stop": "asyncinfer.run.stop",
    "ainfer": "asyncinfer.engines.calls",
    "infer": "asyncinfer.engines.calls",
    "infer_interactive": "asyncinfer.engines.calls",
    "build_engine": "asyncinfer.engines.registry",
    "build_inference_engine": "asyncinfer.engines.registry",
    "get_engine": "asyncinfer.engines.registry",
    "register_engine": "asyncinfer.engines.registry",
    "register_provider": "asyncinfer.engines.registry",
    "CostPerMillion": "asyncinfer.config",
    "RunCost": "asyncinfer.types.costs",
    "SpendingLimitError": "asyncinfer.types.run_errors",
    "RowReused": "asyncinfer.run.events",
    "Estimate": "asyncinfer.types.estimates",
    "Interval": "asyncinfer.types.estimates",
}
_NAMES = frozenset(__all__)
if not TYPE_CHECKING:
    del __all__  # From here on, `__getattr__` returns it.


def __getattr__(name: str) -> Any:
    """Import what is used for the first time. `__all__` and the engine classes come from the registry of engines."""
    from importlib import import_module

    if name == "__version__":
        from importlib.metadata import version

        return version("asyncinfer")
    module = _MODULES.get(name)
    if module is None and (name == "__all__" or name.endswith("InferenceEngine")):
        from asyncinfer.engines.registry import CLASS_MODULES

        if name == "__all__":
            return sorted(_NAMES | CLASS_MODULES.keys())
        module = CLASS_MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted(globals().keys() | {"__version__"} | set(__getattr__("__all__")))
