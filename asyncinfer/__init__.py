"""Asyncio-first inference for chat models. `__all__` is the API; engines load when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncinfer.config import (
    AdaptiveConcurrencyParams,
    GenerationParams,
    GuidedDecodingParams,
    InferenceConfig,
    InferenceEngineType,
    ModelParams,
    RemoteParams,
)
from asyncinfer.errors import (
    AsyncInferError,
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
from asyncinfer.types.conversation import ContentItem, Conversation, Message, Role, Type
from asyncinfer.types.results import (
    FailureDetail,
    FinishReason,
    InferenceResult,
    Progress,
    RunSummary,
    StreamDelta,
    Usage,
)
from asyncinfer.types.run_errors import InferenceFailedError, RunInterruptedError
from asyncinfer.types.tools import ToolCall, ToolDefinition

if TYPE_CHECKING:
    from asyncinfer.engines.base import BaseInferenceEngine
    from asyncinfer.engines.hosted import (
        AnthropicInferenceEngine,
        BedrockInferenceEngine,
        CerebrasInferenceEngine,
        DeepSeekInferenceEngine,
        FireworksInferenceEngine,
        GoogleGeminiInferenceEngine,
        GoogleVertexInferenceEngine,
        HuggingFaceRouterInferenceEngine,
        OpenAIInferenceEngine,
        OpenRouterInferenceEngine,
        ParasailInferenceEngine,
        RemoteVLLMInferenceEngine,
        SambanovaInferenceEngine,
        SGLangInferenceEngine,
        TogetherInferenceEngine,
    )
    from asyncinfer.engines.local.llama_cpp.engine import LlamaCppInferenceEngine
    from asyncinfer.engines.local.transformers.engine import NativeTextInferenceEngine
    from asyncinfer.engines.local.vllm.engine import VLLMInferenceEngine
    from asyncinfer.engines.registry import build_engine, register_engine, register_provider
    from asyncinfer.engines.remote import RemoteInferenceEngine
    from asyncinfer.run.stop import Stop

_LAZY = {
    "AnthropicInferenceEngine": "asyncinfer.engines.hosted",
    "Stop": "asyncinfer.run.stop",
    "BaseInferenceEngine": "asyncinfer.engines.base",
    "BedrockInferenceEngine": "asyncinfer.engines.hosted",
    "CerebrasInferenceEngine": "asyncinfer.engines.hosted",
    "DeepSeekInferenceEngine": "asyncinfer.engines.hosted",
    "FireworksInferenceEngine": "asyncinfer.engines.hosted",
    "HuggingFaceRouterInferenceEngine": "asyncinfer.engines.hosted",
    "GoogleGeminiInferenceEngine": "asyncinfer.engines.hosted",
    "GoogleVertexInferenceEngine": "asyncinfer.engines.hosted",
    "LlamaCppInferenceEngine": "asyncinfer.engines.local.llama_cpp.engine",
    "NativeTextInferenceEngine": "asyncinfer.engines.local.transformers.engine",
    "OpenAIInferenceEngine": "asyncinfer.engines.hosted",
    "OpenRouterInferenceEngine": "asyncinfer.engines.hosted",
    "ParasailInferenceEngine": "asyncinfer.engines.hosted",
    "RemoteInferenceEngine": "asyncinfer.engines.remote",
    "RemoteVLLMInferenceEngine": "asyncinfer.engines.hosted",
    "SGLangInferenceEngine": "asyncinfer.engines.hosted",
    "SambanovaInferenceEngine": "asyncinfer.engines.hosted",
    "TogetherInferenceEngine": "asyncinfer.engines.hosted",
    "VLLMInferenceEngine": "asyncinfer.engines.local.vllm.engine",
    "build_engine": "asyncinfer.engines.registry",
    "register_engine": "asyncinfer.engines.registry",
    "register_provider": "asyncinfer.engines.registry",
}

__all__ = [
    "AdaptiveConcurrencyParams",
    "AnthropicInferenceEngine",
    "AsyncInferError",
    "BaseInferenceEngine",
    "BedrockInferenceEngine",
    "CerebrasInferenceEngine",
    "ConfigError",
    "ContentItem",
    "Conversation",
    "DeepSeekInferenceEngine",
    "EngineConfigError",
    "EngineDeadError",
    "FailureDetail",
    "FinishReason",
    "FireworksInferenceEngine",
    "GenerationParams",
    "GoogleGeminiInferenceEngine",
    "GoogleVertexInferenceEngine",
    "GuidedDecodingParams",
    "HuggingFaceRouterInferenceEngine",
    "InferenceConfig",
    "InferenceEngineType",
    "InferenceErrorType",
    "InferenceFailedError",
    "InferenceResult",
    "InputError",
    "LlamaCppInferenceEngine",
    "Message",
    "MissingDependencyError",
    "ModelParams",
    "NativeTextInferenceEngine",
    "OpenAIInferenceEngine",
    "OpenRouterInferenceEngine",
    "ParasailInferenceEngine",
    "Progress",
    "RemoteInferenceEngine",
    "RemoteParams",
    "RemoteVLLMInferenceEngine",
    "RequestError",
    "Role",
    "RunInterruptedError",
    "RunSummary",
    "SGLangInferenceEngine",
    "SambanovaInferenceEngine",
    "ScratchError",
    "ScratchLockedError",
    "Stop",
    "StreamDelta",
    "TogetherInferenceEngine",
    "ToolCall",
    "ToolDefinition",
    "Type",
    "UnexpectedCancellationError",
    "Usage",
    "VLLMInferenceEngine",
    "build_engine",
    "register_engine",
    "register_provider",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
