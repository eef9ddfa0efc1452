"""Templates of prompts: sandboxed Jinja, whose variables are the columns of a row.

Jinja 3.1.6 (November 2026). The template belongs to the configuration; the values of a row are never templates. The
sandbox gives no access to Python's internals and changes no value, and a text has at most 16 MiB characters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

from asyncinfer.errors import MissingDependencyError

# The most characters of a text, and of a text or list that an operator repeats.
_LONGEST = 1 << 24
# The variable with all columns.
ROW = "row"


class PromptTemplate:
    """A compiled template.

    Attributes:
        columns: The columns that the template names as variables.
        names_row: Whether it uses `row`, and so perhaps any column.

    Raises:
        ValueError: It is not valid Jinja. The message has the line.
        MissingDependencyError: Jinja is not installed.
    """

    def __init__(self, source: str) -> None:
        environment = _environment()
        try:
            tree = environment.parse(source)
            self._template = environment.from_string(tree)
        except import_module("jinja2").TemplateSyntaxError as error:
            raise ValueError(f"not a valid Jinja template: line {error.lineno}: {error.message}") from None
        names: set[str] = import_module("jinja2.meta").find_undeclared_variables(tree)
        self.columns = frozenset(names - environment.globals.keys() - {ROW})
        self.names_row = ROW in names
        self._undefined: type[Exception] = import_module("jinja2").UndefinedError

    def render(self, values: Mapping[str, Any]) -> str:
        """Return the text for the columns of one row.

        Raises:
            ValueError: The row does not have a column, or the template fails for another reason.
        """
        try:
            return _bounded(self._template.generate({ROW: values, **values}))
        except self._undefined as error:
            missing = sorted(self.columns - values.keys())
            what = f"there is no column {missing[0]!r}" if missing else str(error)
            raise ValueError(f"{what}; the columns are {', '.join(map(str, values))}") from None
        except Exception as error:  # Filters raise errors of any kind.
            raise ValueError(f"the template fails: {str(error) or type(error).__name__}") from None


def check_template(source: str) -> str:
    """Return `source`. Raises as `PromptTemplate` does."""
    PromptTemplate(source)
    return source


def _bounded(parts: Any) -> str:
    texts: list[str] = []
    size = 0
    for part in parts:
        size += len(part)
        if size > _LONGEST:
            raise ValueError(f"the text has more than {_LONGEST:,} characters")
        texts.append(part)
    return "".join(texts)


@cache
def _environment() -> Any:
    """The environment of all templates. A null gives an empty text, and `tojson` does not escape HTML."""
    try:
        sandbox: Any = import_module("jinja2.sandbox")
    except ImportError:
        raise MissingDependencyError("jinja2", "data") from None

    class Environment(sandbox.ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(["*", "**"])

        def call_binop(self, context: object, operator: str, left: Any, right: Any) -> Any:
            _check_size(operator, left, right)
            return self.binop_table[operator](left, right)

    made: Any = Environment(
        undefined=import_module("jinja2").StrictUndefined, finalize=_text, keep_trailing_newline=True
    )
    made.filters["tojson"] = _to_json
    return made


def _text(value: object) -> object:
    return "" if value is None else value


def _to_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, default=str)


def _check_size(operator: str, left: object, right: object) -> None:
    """Raise a ValueError if the result would be very large."""
    if operator == "**":
        too_large = isinstance(right, int) and right > 1000
    else:
        sizes: list[Callable[[], int]] = [value.__len__ for value in (left, right) if isinstance(value, str | list)]
        factors = [value for value in (left, right) if isinstance(value, int)]
        too_large = bool(sizes and factors) and sizes[0]() * factors[0] > _LONGEST
    if too_large:
        raise ValueError(f"the result of {operator} would be too large")
