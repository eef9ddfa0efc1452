"""The recorders of a run, as its configuration asks for them."""

from __future__ import annotations

from datetime import datetime
from io import StringIO
from pathlib import Path

from asyncinfer.config import InferenceConfig
from asyncinfer.engines.call_input import absolute_path
from asyncinfer.errors import ConfigError
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.recording import RunRecorder
from asyncinfer.run.shards import ShardWriter


def recorders_of(config: InferenceConfig, engine_type: str, access: EngineAccess) -> list[RunRecorder]:
    """Return the recorders of one run; none by default.

    Raises:
        ConfigError: A path is wrong, or missing.
    """
    recorders: list[RunRecorder] = []
    if config.report_path is not None or config.save_events:
        recorders.append(_report_recorder(config, engine_type, access))
    if config.output is not None and config.output.shards is not None:
        recorders.append(ShardWriter(config.output.shards))
    if access.tracing is not None:
        recorders.append(access.tracing.run_recorder(Path(config.output_path or "").name or "rows"))
    return recorders


def _report_recorder(config: InferenceConfig, engine_type: str, access: EngineAccess) -> RunRecorder:
    from asyncinfer.report.record import RunRecord
    from asyncinfer.report.recorder import ReportRecorder
    from asyncinfer.report.storage import events_path

    output = absolute_path(config.output_path, "output_path")
    if config.save_events and output is None:
        raise ConfigError("save_events: set output_path too; the events are saved beside that file")
    record = RunRecord(
        name=output.name if output is not None else "Run",
        began_at=datetime.now().astimezone().isoformat(timespec="seconds"),
        engine=engine_type,
        model=access.settings.model.model_name,
        output_path=str(output) if output is not None else None,
        settings=_settings_text(config, engine_type, access),
    )
    return ReportRecorder(
        absolute_path(config.report_path, "report_path"),
        events_path(output) if config.save_events and output is not None else None,
        record,
        lambda: access.semaphore.limit,
    )


def _settings_text(config: InferenceConfig, engine_type: str, access: EngineAccess) -> str:
    """The settings in effect as YAML, without secrets."""
    model, generation, remote = access.settings
    groups = {"engine": engine_type, "model": model, "generation": generation, "remote_params": remote}
    text = StringIO()
    config.model_copy(update=groups).to_yaml(text)
    return text.getvalue()
