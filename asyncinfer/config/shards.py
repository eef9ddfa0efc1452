"""How the output of a run is written."""

from __future__ import annotations

from asyncinfer.config.base import Count, Params


class ShardParams(Params):
    """Parts of the output that are written while the run is in progress."""

    shards: Count | None = None
    """How many rows of the input a part has. Each part is written as soon as all of its rows are finished, beside the
    output, with a name such as `out-00000-of-00012.jsonl`; null: no parts."""
