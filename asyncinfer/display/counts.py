"""The counts of a run as text."""

from __future__ import annotations

from asyncinfer.types.costs import usd_text
from asyncinfer.types.results import Progress


def progress_text(progress: Progress) -> str:
    """Return tokens, tokens per second and the cost; and, if there are any: resumed, failed, cut, refused and retried
    rows, the commonest failure, and why the run waits.
    """
    tokens = progress.usage.completion_tokens
    parts = [f"{tokens} tokens", f"{tokens / max(progress.seconds, 1e-9):.0f} tokens/s"]
    if progress.cost is not None and not progress.cost.unpriced:
        parts.append(usd_text(progress.cost.usd))
    elif progress.cost is not None and progress.cost.usd:
        parts.append(f"{usd_text(progress.cost.usd)} without {progress.cost.unpriced} answers of unknown price")
    counts = {
        "resumed": progress.resumed,
        "deduplicated": progress.deduplicated,
        "cached": progress.cached,
        "failed": progress.failed,
        "cut by length": progress.cut_by_length,
        "filtered": progress.filtered,
        "refused": progress.refused,
        "retried": progress.retried,
    }
    parts += [f"{count} {name}" for name, count in counts.items() if count]
    if progress.commonest_failure is not None:
        parts.append(f"most failures: {one_line(progress.commonest_failure.error_message, 100)}")
    if progress.waiting:
        parts.append(progress.waiting)
    return ", ".join(parts)


def one_line(text: str, most: int) -> str:
    """Return the text without line breaks, and not longer than `most` characters."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 3]}..."
