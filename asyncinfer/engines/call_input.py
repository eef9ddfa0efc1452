"""The input of a call: where its rows come from, and whether it is valid."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeGuard, cast

from asyncinfer.config import InferenceConfig, InputFormat, InputParams
from asyncinfer.data.answer_columns import AnswerSchema
from asyncinfer.data.dict_table import DictTable, row_values
from asyncinfer.data.json_table import JsonTable
from asyncinfer.data.layout import OutputLayout, input_layout, output_layout
from asyncinfer.data.open_table import table_at
from asyncinfer.data.parts_table import PartsTable
from asyncinfer.data.row_prompt import RowPrompt
from asyncinfer.data.rows import Rows
from asyncinfer.data.table import Table
from asyncinfer.engines.overwritten_input import check_not_overwritten
from asyncinfer.errors import ConfigError, InputError
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.items import as_conversation, require_messages
from asyncinfer.run.sources import FileSource, FirstRows, ListSource, Source
from asyncinfer.run.table_source import TableSource
from asyncinfer.scratch.answer_store import DEFAULT_PATH
from asyncinfer.scratch.atomic import as_config_error
from asyncinfer.types.conversation import Conversation, ConversationLike
from asyncinfer.types.message import Message
from asyncinfer.types.paths import expanded

# The settings that need a run.
_OF_RUNS = (
    "input_path",
    "output_path",
    "progress_path",
    "report_path",
    "save_events",
    "reuse_output",
    "retry_failures",
    "cache",
    "max_cost",
    "max_tokens",
)
# The input types of methods for many conversations.
ManyRows = Sequence[ConversationLike] | Rows


# The largest row that is prepared on the event loop, in characters.
_SMALL = 1 << 14


def conversation_of(given: object, config: object) -> Conversation:
    """The conversation of a call for one answer.

    Raises:
        InputError: `given` does not stand for a conversation.
        ConfigError: `config` is not a configuration.
    """
    try:
        conversation = as_conversation(given)
        require_messages(conversation)
    except InputError as error:
        text = str(error)
        raise InputError(f"conversation{' ' if text.startswith('should') else ': '}{text}") from None
    if not isinstance(config, InferenceConfig | None):
        raise ConfigError(f"inference_config should be an InferenceConfig (found {type(config).__name__})")
    return conversation


def check_many(given: object, name: str) -> None:
    """Check that the argument `name` holds many conversations, and not one.

    Raises:
        InputError: It is one conversation. A text is iterable too, so each letter would become a row.
    """
    if isinstance(given, str | bytes | Conversation | Message | Mapping):
        kind = type(cast(object, given)).__name__
        raise InputError(f"{name} should be a list of conversations (found {kind}); for one, pass [conversation]")


def is_one_small_row(
    input: Sequence[object] | Rows | None, config: InferenceConfig | None
) -> TypeGuard[Sequence[ConversationLike]]:
    """Whether there is one row of text, small enough for the event loop, and nothing is to be saved or limited."""
    if not isinstance(input, list | tuple) or len(input) != 1:
        return False
    if config is not None and any(getattr(config, name) for name in _OF_RUNS):
        return False
    if config is not None and config.input is not None:
        return False
    row = input[0]
    if isinstance(row, str):
        return len(row) <= _SMALL
    if not isinstance(row, Conversation):
        return False
    contents = [message.content for message in row.messages]
    return all(isinstance(c, str | None) for c in contents) and sum(len(c or "") for c in contents) <= _SMALL


def check_no_path(config: InferenceConfig | None) -> None:
    """Raise a ConfigError if `config` names an input file, although the rows are given as objects."""
    if config is not None and config.input_path is not None:
        raise ConfigError(
            f"input_path: {config.input_path} is set, and there is an input too; give one of them. "
            "config.model_copy(update={'input_path': None}) is the same configuration without the path"
        )


def check_no_retry(config: InferenceConfig | None) -> None:
    """Raise a ConfigError if `config` asks for a retry of failed rows, which only `arun` and `aestimate` accept."""
    if config is not None and config.retry_failures:
        raise ConfigError(
            "retry_failures: only arun, aestimate and their twins do this: call arun(config), which writes files. To "
            "answer the rows given here, leave the setting out: config.model_copy(update={'retry_failures': False})"
        )


def check_files(table: Table, config: InferenceConfig) -> None:
    """Raise a ConfigError if a run with this configuration writes the files that it reads. Blocks."""
    if (output := absolute_path(config.output_path, "output_path")) is not None:
        has_shards = config.output is not None and config.output.shards is not None
        check_not_overwritten(table, output, has_shards=has_shards)


def source_of(input: ManyRows | None, config: InferenceConfig | None) -> Source | None:
    """Where the rows come from; None for an empty list, which needs no run.

    Raises:
        InputError: `input` is one conversation, and not a list of them.
        ConfigError: There is no input, or there are two, or a setting contradicts the file.
    """
    config = config or InferenceConfig()
    source = _whole_source(input, config)
    return source if config.limit is None or source is None else FirstRows(source, config.limit)


def _whole_source(input: ManyRows | None, config: InferenceConfig) -> Source | None:
    layout = layout_of(config)
    if isinstance(input, Rows):
        check_no_path(config)
        check_files(input.table, config)
        return _table_source(input.table, input.params, layout)
    if input is not None:
        check_many(input, "input")
        check_no_path(config)
        rows = list(input)
        if config.input is not None and rows:
            return _table_source(DictTable(rows), config.input, layout)
        return ListSource(rows) if rows else None
    if config.input_path is None:
        raise ConfigError("there is nothing to run: pass input=[...] or set input_path")
    return _file_source(config.input_path, config, layout)


def layout_of(config: InferenceConfig) -> OutputLayout:
    """The format of the output."""
    return output_layout(config.output_path, config.output)


def kept_columns(input: object, config: InferenceConfig) -> Sequence[str] | None:
    """The columns of the input that the output has; None: all."""
    params = input.params if isinstance(input, Rows) else config.input
    return params.keep if params is not None else None


def answer_schema(access: EngineAccess) -> AnswerSchema | None:
    """What the answers are; None if they are text."""
    if access.check is not None and (written := access.check.written_schema) is not None:
        return AnswerSchema(written, access.check.json_values)
    guided = access.settings.generation.guided_decoding
    schema = guided.schema_dict() if guided is not None else None
    return AnswerSchema(schema) if schema is not None else None


def iterable_of(
    source: Iterable[object] | AsyncIterable[object], config: InferenceConfig | None
) -> Iterable[object] | AsyncIterable[object]:
    """The conversations of a source that is read once."""
    if isinstance(source, Rows):
        return source.conversations()
    if config is None or config.input is None:
        return source
    prompt = RowPrompt(config.input, keeps_metadata=True)
    if isinstance(source, AsyncIterable):
        return (prompt.outcome(row_values(row)) async for row in source)
    return (prompt.outcome(row_values(row)) for row in source)


def _file_source(path: str, config: InferenceConfig, layout: OutputLayout) -> Source:
    """The source that reads the file, the files, the URL or the data set at `path`."""
    params = config.input or InputParams()
    table = table_at(path, params)
    check_files(table, config)
    found = input_layout(path, params)
    has_conversations = params.prompt is None and params.id is None and params.keep is None
    if has_conversations and isinstance(table, JsonTable) and found.format is InputFormat.JSONL:
        return FileSource(path, found.compression)
    return _table_source(table, params, layout)


def _table_source(table: Table, params: InputParams, layout: OutputLayout) -> Source:
    if params.keep and not layout.has_rows:
        params.check_metadata()
    parts = table.parts if isinstance(table, PartsTable) else (table,)
    is_json = all(isinstance(part, JsonTable) for part in parts)
    return TableSource(table, RowPrompt(params, keeps_metadata=not layout.has_rows, keeps_keys=is_json))


def absolute_path(given: str | Path | None, setting: str) -> Path | None:
    """The absolute path, so that a later change of the working directory has no effect. `~` is the user's home.

    Raises:
        ConfigError: No file can have this path.
    """
    if given is None:
        return None
    path = expanded(given, setting)
    folder, name = os.path.split(given)
    if folder and name in ("", "."):
        raise ConfigError(f"{setting}: {os.fspath(given)} is the path of a folder; give the path of a file to write")
    with as_config_error(path, setting):
        return path.absolute()


def cache_file(config: InferenceConfig) -> tuple[Path, int]:
    """The file of the cache, and its largest size in bytes.

    Raises:
        ConfigError: No file can have this path.
    """
    path = absolute_path(config.cache_path or DEFAULT_PATH, "cache_path")
    assert path is not None, "there is a default"
    return path, config.cache_max_mib << 20
