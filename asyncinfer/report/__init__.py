"""The HTML report of a run, and the file of saved events from which it can be written later.

A run writes the report if `report_path` is set, and saves its events if `save_events` is. Both need memory and disk
space that do not grow with the number of rows.
"""

from __future__ import annotations

from asyncinfer.report.write import write_report

__all__ = ["write_report"]
