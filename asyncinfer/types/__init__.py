"""The data types of the package: conversations, tools, answers and failures."""

from asyncinfer.errors import InferenceErrorType
from asyncinfer.types.conversation import ContentItem, ContentItemCounts, Conversation, Message, Role, Type
from asyncinfer.types.results import (
    Completion,
    FailureDetail,
    FinishReason,
    InferenceResult,
    Progress,
    RunSummary,
    StreamDelta,
    Usage,
)
from asyncinfer.types.tools import FunctionCall, FunctionDefinition, ToolCall, ToolDefinition, ToolType

__all__ = [
    "Completion",
    "ContentItem",
    "ContentItemCounts",
    "Conversation",
    "FailureDetail",
    "FinishReason",
    "FunctionCall",
    "FunctionDefinition",
    "InferenceErrorType",
    "InferenceResult",
    "Message",
    "Progress",
    "Role",
    "RunSummary",
    "StreamDelta",
    "ToolCall",
    "ToolDefinition",
    "ToolType",
    "Type",
    "Usage",
]
