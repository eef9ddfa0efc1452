"""Templates of prompts: sandboxed Jinja, whose variables are the columns of a row.

The template belongs to the configuration; the values of a row are never templates. The sandbox gives no access to
Python's internals, changes no value, and bounds the time and the memory that a row takes (`template_work.py`). A text
has at most 16,777,216 characters.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from asyncinfer.config.template_limits import LONGEST, TemplateLimitError
from asyncinfer.errors import MissingDependencyError
from asyncinfer.types.names import listed_names, no_column

if TYPE_CHECKING:
    from asyncinfer.config.template_sandbox import MeteredSandbox

# The variable with all columns.
ROW = "row"


class PromptTemplate:
    """A compiled template.

    Attributes:
        columns: The columns that the template names as variables.

    Raises:
        ValueError: It is not valid Jinja. The message has the line.
        MissingDependencyError: Jinja is not installed.
    """

    def __init__(self, source: str) -> None:
        environment = _environment()
        try:
            tree = environment.parse(source)
            names: set[str] = import_module("jinja2.meta").find_undeclared_variables(tree)
            self._hidden = environment.hidden_names(tree)
            self._template = environment.from_string(environment.metered(tree))
        except import_module("jinja2").TemplateSyntaxError as error:
            what = f"line {error.lineno}: {error.message}{_hint(error.message)}"
            raise ValueError(f"not a valid Jinja template: {what}") from None
        except (RecursionError, MemoryError, SyntaxError):  # Python cannot compile it.
            raise ValueError("not a valid Jinja template: its blocks or brackets are nested too deeply") from None
        self.columns = frozenset(names - environment.globals.keys() - {ROW})
        self._undefined: type[Exception] = import_module("jinja2").UndefinedError

    def check_names(self, columns: Collection[str]) -> None:
        """Check that no column has the name of another variable that the template uses.

        Raises:
            ValueError: A column does.
        """
        for name in sorted(self._hidden.intersection(columns)):
            what = "all columns of the row" if name == ROW else "an object of Jinja"
            raise ValueError(f"{name!r} is {what}; write row[{name!r}] for the column of this name")

    def render(self, values: Mapping[str, Any]) -> str:
        """Return the text for the columns of one row.

        Raises:
            TemplateLimitError: The template does too much for this row, or makes a text that is too large.
            ValueError: The row does not have a column, or the template fails for another reason.
        """
        if self._hidden:
            self.check_names(values.keys())
        try:
            with _environment().work():
                return _bounded(self._template.generate({**values, ROW: values}))
        except self._undefined as error:
            missing = sorted(self.columns - values.keys())
            what = no_column(missing[0], values) if missing else f"{error}; the columns are {listed_names(values)}"
            raise ValueError(what) from None
        except RecursionError:
            raise ValueError("the template fails: a macro, a loop or a value is nested too deeply") from None
        except Exception as error:  # Filters raise errors of any kind.
            kind = TemplateLimitError if isinstance(error, TemplateLimitError) else ValueError
            raise kind(f"the template fails: {str(error) or type(error).__name__}") from None


def check_template(source: str) -> str:
    """Return `source`. Raises as `PromptTemplate` does."""
    PromptTemplate(source)
    return source


def _bounded(parts: Iterable[str]) -> str:
    texts: list[str] = []
    size = 0
    for part in parts:
        size += len(part)
        if size > LONGEST:
            raise TemplateLimitError(f"the text has more than {LONGEST:,} characters")
        texts.append(part)
    return "".join(texts)


def _hint(message: str | None) -> str:
    """Advice for `{{ Full name }}`."""
    needs_row = "expected token 'end of print statement'" in (message or "")
    return "; a column whose name is no variable is row['its name']" if needs_row else ""


@cache
def _environment() -> MeteredSandbox:
    try:
        from asyncinfer.config.template_sandbox import MeteredSandbox, Sandbox
    except ImportError:
        raise MissingDependencyError("jinja2", "data") from None
    return MeteredSandbox(Sandbox())
