"""Access to what is not public in Ray. Written against Ray 2.60 (November 2026)."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def has_started(actor: Any) -> bool:
    """Whether the process of an actor runs. False also if this version of Ray does not say it. Blocks.

    `ray.util.state` says it too, but needs the dashboard.
    """
    try:
        info = import_module("ray._private.state").actors(actor_id=actor._actor_id.hex())
        return info["State"] == "ALIVE"
    except (AttributeError, ImportError, KeyError, RuntimeError, TypeError, ValueError):
        return False
