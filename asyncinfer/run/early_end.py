"""The error of a run that ends before every row has its outcome."""

from __future__ import annotations

from asyncinfer.run.active_run import ActiveRun
from asyncinfer.run.flow import RowFlow
from asyncinfer.types.run_errors import RunInterruptedError, SpendingLimitError


def interruption_error(flow: RowFlow, active: ActiveRun) -> RunInterruptedError:
    """The error for a run that ends before every row has its outcome: it was stopped, or a limit is reached."""
    stats, scratch = active.stats, active.scratch
    of = f" of {stats.total}" if stats.total is not None else ""
    saved = f"{active.statuses.saved_count}{of} rows are saved"
    summary = stats.summary()
    if flow.stopped or flow.limit_reason is None:
        if scratch is None:
            return RunInterruptedError(f"Stopped: {saved}.", summary)
        where = f". They are in {scratch.path}" if active.statuses.saved_count else ""
        return RunInterruptedError(f"Stopped: {saved}{where}; run the same again to go on.", summary)
    where = f", in {scratch.path}. To go on, raise the limit and run the same again" if scratch is not None else ""
    return SpendingLimitError(f"Stopped at a limit: {flow.limit_reason}. {saved}{where}.", summary)
