"""The HTML page of a report: one file that needs no network.

Charts are drawn by plotly.js, which the Python package plotly contains (version 7.1, November 2026). The page holds it
compressed, because it has 4.8 MB. Browsers decompress it with `DecompressionStream`, which all of them have since 2023.

The page may show texts of a hostile model. Jinja escapes them, and a content security policy lets the browser run only
the two scripts whose hashes it names, and load nothing.
"""

from __future__ import annotations

import gzip
import json
import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from asyncinfer.errors import MissingDependencyError
from asyncinfer.report.charts import charts_of
from asyncinfer.report.facts import cards_of, duration, latency_rows, number, seconds
from asyncinfer.report.record import RunRecord
from asyncinfer.scratch.atomic import replacing

_FILES = files("asyncinfer.report") / "assets"
# Characters that HTML does not allow, and those with which an answer could show its letters in another order.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202d\u202e]")


def check_packages() -> None:
    """Check that the packages for the page are installed. Blocks.

    Raises:
        MissingDependencyError: One is not.
    """
    _plotly()
    _environment()


def save_page(record: RunRecord, path: Path) -> None:
    """Write the page. Blocks.

    Raises:
        OSError: The file cannot be written.
        MissingDependencyError: A package for the page is not installed.
    """
    page = _CONTROL.sub("\ufffd", render_page(record)).encode("utf-8", "replace")
    with replacing(path) as file:
        file.write(page)


def render_page(record: RunRecord) -> str:
    """Return the page. Blocks.

    Raises:
        MissingDependencyError: A package for the page is not installed.
    """
    plotly, script = _plotly(), _asset("page.js")
    charts = charts_of(record)
    figures = [{"name": chart.name, "data": chart.data, "layout": chart.layout} for chart in charts]
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            record=record,
            cards=list(cards_of(record)),
            charts=charts,
            latencies=list(latency_rows(record)),
            figures=_json(figures),
            style=_asset("page.css"),
            script=script,
            plotly=plotly,
            policy=_policy(plotly.hash, _hash(script)),
        )
    )


class _Library(NamedTuple):
    """plotly.js: compressed and in Base64; and the hash of its text."""

    compressed: str
    hash: str


@cache
def _plotly() -> _Library:
    try:
        text = (files("plotly") / "package_data" / "plotly.min.js").read_text("utf-8")
    except (ImportError, FileNotFoundError):
        raise MissingDependencyError("plotly", "report") from None
    # The decompressed text becomes a script, in which a line break has one form.
    text = text.replace("\r\n", "\n")
    return _Library(b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode(), _hash(text))


@cache
def _environment() -> Any:
    try:
        from jinja2 import Environment, FunctionLoader
    except ImportError:
        raise MissingDependencyError("jinja2", "report") from None
    environment = Environment(loader=FunctionLoader(_asset), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"duration": duration, "number": number, "seconds": seconds}
    return environment


@cache
def _asset(name: str) -> str:
    return (_FILES / name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _policy(*scripts: str) -> str:
    """The content security policy of a page that runs only these scripts, and loads nothing."""
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {' '.join(scripts)}"


def _json(value: object) -> str:
    """JSON that may be inside a script element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
