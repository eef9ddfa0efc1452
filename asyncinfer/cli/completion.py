"""What a shell completes after an option. Where these functions find nothing, the shell completes names of files."""

from __future__ import annotations

from asyncinfer.cli.examples import example_names


def complete_engine(incomplete: str) -> list[str]:
    """Return the names of engines that begin with `incomplete`, in its case, because shells distinguish cases."""
    from asyncinfer.config.engine_type import engine_names

    names = [name.lower() if incomplete.islower() else name for name in engine_names()]
    return [name for name in names if name.startswith(incomplete)]


def complete_config(incomplete: str) -> list[str]:
    """Return the examples that begin with `incomplete`. Without a beginning, files are more likely."""
    return [name for name in example_names() if incomplete and name.startswith(incomplete.lower())]
