"""Calls that retry the failed rows of an earlier run."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from asyncinfer.aio.limiters import DISK
from asyncinfer.config import InferenceConfig, OutputFormat
from asyncinfer.data.layout import OutputLayout
from asyncinfer.engines.call_input import absolute_path, layout_of
from asyncinfer.errors import ConfigError
from asyncinfer.run.retry.conversations_merge import ConversationsMerge
from asyncinfer.run.retry.failed_input_rows import FailedInputRows
from asyncinfer.run.retry.json_rows_merge import JsonRowsMerge
from asyncinfer.run.retry.output_merge import OutputMerge
from asyncinfer.run.retry.retry import Retry, prepared_retry
from asyncinfer.run.retry.table_merge import TableMerge
from asyncinfer.run.run_paths import check_paths

log = logging.getLogger("asyncinfer")


def check_retry(config: InferenceConfig, *, has_input: bool) -> None:
    """Check that the settings name what a retry needs.

    Raises:
        ConfigError: There is no output, or an output of rows without an input.
    """
    if config.output_path is None:
        raise ConfigError("retry_failures: set output_path, the output whose failed rows are tried again")
    if layout_of(config).has_rows and config.input_path is None and not has_input:
        raise ConfigError("retry_failures: set input_path too: the columns of the output come from there")


@asynccontextmanager
async def retry_of(config: InferenceConfig, input_rows: FailedInputRows | None) -> AsyncGenerator[Retry]:
    """Prepare the retry of the failed rows of a run. No other run can write its output during the block.

    Args:
        input_rows: The failed rows of the input, for an output of rows; None for conversations.

    Raises:
        ConfigError: There are no failed rows, or their answers could not be merged.
        InputError: Failed rows do not say where their answers belong, or rows of the input have changed.
        ScratchError: Another run writes the output, or a file cannot be used.
    """
    output = absolute_path(config.output_path, "output_path")
    assert output is not None, "check_retry comes first"
    written = {name: absolute_path(getattr(config, name), name) for name in ("progress_path", "report_path")}
    others = {name: path for name, path in written.items() if path is not None}
    source = input_rows.source if input_rows is not None else None
    await DISK.run(check_paths, source.path if source is not None else None, output, None, others)
    async with prepared_retry(output, _output_merge(output, layout_of(config), input_rows), source) as retry:
        yield retry


def settings_of(retry: Retry, config: InferenceConfig) -> InferenceConfig:
    """Return the settings that run the failed rows, from those of the call."""
    files = retry.files
    if config.save_events:
        log.warning(
            "save_events: a retry saves no events, so the saved ones stay those of the run; for a report of the retry, "
            "set report_path"
        )
    # The answers of a retry that was killed before they were merged are reused.
    changes = {"input_path": str(files.failures), "output_path": str(files.answers), "reuse_output": True}
    off = {"retry_failures": False, "save_events": False, "input": None, "output": None}
    return config.model_copy(update=changes | off)


def _output_merge(path: Path, layout: OutputLayout, input_rows: FailedInputRows | None) -> OutputMerge:
    if input_rows is None:
        return ConversationsMerge(path, layout.compression)
    if layout.format is OutputFormat.JSONL:
        return JsonRowsMerge(path, layout.compression, input_rows)
    return TableMerge(path, layout, input_rows)
