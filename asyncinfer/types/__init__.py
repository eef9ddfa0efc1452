"""The data types of the package, and small helpers that many packages need. A type below uses only types above it.

| module | contents |
|---|---|
| `parsed` | the type of a parsed answer |
| `tools`, `content`, `message`, `conversation` | what a user passes in: tools, messages, conversations |
| `merging` | joins adjacent messages of one role |
| `limits` | rate limits in headers |
| `finish_reason`, `usage`, `logprobs`, `stream`, `answer` | what a model answers: in parts, and whole |
| `batch` | batch jobs and files of a provider |
| `correction` | typed answers: what follows a rejected answer |
| `costs` | prices, and the cost of a run |
| `run_counts`, `results`, `run_errors` | what a run returns: answers, failures and summaries |
| `estimates` | what a job will take |
| `http`, `upload` | requests, responses, and bodies that are streamed from a file |

The helpers do no work of a run. They know no engine and no provider:

| module | contents |
|---|---|
| `masking` | text whose repr shows no secret |
| `media_types` | the media type of images and PDF documents |
| `field_types`, `short_repr`, `markdown` | types of fields for type checkers; short reprs; what notebooks show |
| `data_urls` | the parts of data URLs |
| `lru_cache` | a cache of limited size |
| `times` | durations and dates in headers and messages |
| `names`, `validation` | names of columns, and problems of a value, in messages |
| `paths`, `files`, `pipes`, `lines` | checks paths from users; reads files, pipes, and lines of bounded size |
"""

from asyncinfer.errors import InferenceErrorType
from asyncinfer.types.answer import Completion
from asyncinfer.types.content import ContentItem, ContentItemCounts, Type
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.message import Message, Role
from asyncinfer.types.results import (
    FailureDetail,
    InferenceResult,
    Progress,
    RunSummary,
)
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.tools import FunctionCall, FunctionDefinition, ToolCall, ToolDefinition, ToolType
from asyncinfer.types.usage import Usage

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
