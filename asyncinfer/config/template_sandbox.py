"""Jinja's sandbox, in which every operation of a template is paid for before it runs.

Jinja 3.1.6 (November 2026). Its documentation ("Sandbox", "Security Considerations") says that a small template may
take much time and memory, and that the application has to limit them. The sandbox intercepts calls and operators;
filters and tests are wrapped here; loops, comparisons, slices and `~` are found in the syntax tree.

A template gives the same text each time it is rendered, so there is nothing random in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import date, time
from types import BuiltinMethodType, GeneratorType, MethodType
from typing import Any, cast

from jinja2 import StrictUndefined, nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import Namespace, pass_context
from jinja2.visitor import NodeTransformer
from markupsafe import Markup

from asyncinfer.config import template_operations as operations
from asyncinfer.config.template_work import (
    CALL,
    FILTER,
    ITERATION,
    Work,
    begin,
    end,
    pay,
    pay_for,
    pay_for_result,
    weight,
)

# The names of filters that only the syntax tree uses. A template cannot write them.
_STEP, _PAID, _SEARCHED = "a step of a loop", "a paid value", "a value that is searched"
# Filters and tests that look at no more than the kind or the first elements of a value, or that only make an iterator.
_CHEAP_FILTERS = operations.words(
    "attr count d default first items last length map reject rejectattr safe select selectattr"
)
_CHEAP_TESTS = operations.words(
    "boolean callable defined divisibleby even false filter float integer iterable mapping none number odd sameas "
    "sequence string test true undefined"
)
# Filters that are removed: random ones, and those for HTML or debugging.
_LEFT_OUT = ("random", "urlize", "xmlattr", "pprint")
# What pays for the filters whose results may be larger than their values, or that take long.
_FILTER_PAYMENTS: dict[str, Callable[..., None]] = {
    "batch": operations.pay_for_elements,
    "center": operations.pay_for_width,
    "indent": operations.pay_for_indent,
    "replace": operations.pay_for_replace,
    "round": operations.check_precision,
    "slice": operations.pay_for_elements,
    "striptags": operations.pay_for_tags,
    "sum": operations.pay_for_sum,
    "trim": operations.pay_for_strip,
    "wordwrap": operations.pay_for_wrap,
}
_MOST_INDENT = 100
_TEXT_FILTERS = frozenset(["center", "indent", "replace", "striptags", "trim", "wordwrap"])


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of all templates. A null gives an empty text, and `tojson` does not escape HTML."""

    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, finalize=_output, keep_trailing_newline=True)
        del self.globals["lipsum"]
        self.globals["namespace"] = _Namespace
        for name in _LEFT_OUT:
            del self.filters[name]
        self.filters["tojson"] = _to_json

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        values = tuple(map(_materialized, args))
        more = {name: _materialized(value) for name, value in kwargs.items()}
        pay(CALL)
        pay_for(*values, *(value for name, value in more.items() if name not in ("_loop_vars", "_block_vars")))
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if owner is not None and (isinstance(obj, BuiltinMethodType) or isinstance(owner, Markup | date | time)):
            operations.pay_for_method(owner, name, values, more)
        result = super().call(context, obj, *values, **more)
        if isinstance(result, str):
            pay_for_result("a call", len(result))
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        operations.pay_for_operator(operator, left, right)
        return self.binop_table[operator](left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Replace the methods `format` and `format_map` of texts."""
        if not isinstance(value, MethodType | BuiltinMethodType) or value.__name__ not in ("format", "format_map"):
            return None
        text = value.__self__
        if not isinstance(text, str):
            return None
        takes_mapping = value.__name__ == "format_map"

        def formatted(*args: Any, **kwargs: Any) -> str:
            pay(len(text) * ITERATION >> 4)
            if takes_mapping:
                return _Formatter(self).vformat(text, (), *args)
            return _Formatter(self).vformat(text, args, kwargs)

        return formatted


class MeteredSandbox(Sandbox):
    """The sandbox whose filters and tests are paid for."""

    def __init__(self, plain: Sandbox) -> None:
        super().__init__()
        for name in plain.filters:
            self.filters[name] = _filter(name, plain)
        for name in plain.tests:
            self.tests[name] = _test(name, plain)
        self.filters |= {_STEP: _step, _PAID: _paid, _SEARCHED: _searched}

    def metered(self, tree: nodes.Template) -> nodes.Template:
        """Add operations to a syntax tree that pay for loops, comparisons, slices and `~`. Changes the tree."""
        _Meter().visit(tree)
        tree.set_environment(self)
        return tree

    def hidden_names(self, tree: nodes.Template) -> frozenset[str]:
        """The names that a template uses for something else than the column of this name.

        `{{ row }}` alone, which prints all columns, may be meant as the column.
        """
        read = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "load"}
        parts = [part for output in tree.find_all(nodes.Output) for part in output.nodes]
        printed = {part.name for part in parts if isinstance(part, nodes.Name)}
        return frozenset(read & {"self"} | printed & {"row"})

    @contextmanager
    def work(self) -> Generator[None]:
        """Bound the work that templates do in the block."""
        token = begin(Work())
        try:
            yield
        finally:
            end(token)


class _Meter(NodeTransformer):
    """Adds the payments to a syntax tree."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        text = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        node.body.insert(0, nodes.ExprStmt(_filtered(nodes.Const(ITERATION + text), _STEP, node)))
        if node.test is not None:
            node.test = nodes.And(_filtered(nodes.Const(ITERATION), _STEP, node), node.test)
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _filtered(node.expr, _PAID, node)
        for operand in node.ops:
            name = _SEARCHED if operand.op in ("in", "notin") else _PAID
            operand.expr = _filtered(operand.expr, name, node)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [_filtered(part, _PAID, node) for part in node.nodes]
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(node, _PAID, node) if isinstance(node.arg, nodes.Slice) else node


def _filtered(value: nodes.Expr, name: str, place: nodes.Node) -> nodes.Filter:
    return nodes.Filter(value, name, [], [], None, None, lineno=place.lineno)


@pass_context  # Jinja evaluates a filter without a context only once, when it compiles the template.
def _step(context: Context, amount: int) -> bool:
    pay(amount)
    return True


@pass_context
def _paid(context: Context, value: Any) -> Any:
    value = _materialized(value)
    pay_for(value)
    return value


@pass_context
def _searched(context: Context, value: Any) -> Any:
    value = _materialized(value)
    pay(ITERATION) if isinstance(value, dict) else pay_for(value)
    return cast(Any, value)


def _filter(name: str, plain: Sandbox) -> Callable[..., Any]:
    """The filter of this name, which pays for what it does."""
    payment = _FILTER_PAYMENTS.get(name)

    @pass_context
    def metered(context: Context, *args: Any, **kwargs: Any) -> Any:
        pay(FILTER)
        values = list(args)
        if name not in _CHEAP_FILTERS:
            values = [_materialized(value) for value in args]
            pay_for(*values, *kwargs.values())
        if name == "join":
            _pay_for_join(*values, **kwargs)
        elif name == "format":
            operations.pay_for_percent(str(values[0]), kwargs or tuple(values[1:]))
        elif name == "list" and isinstance(values[0], str):
            pay(len(values[0]) * ITERATION)
        elif payment is not None:
            payment(str(values[0]) if name in _TEXT_FILTERS else values[0], *values[1:], **kwargs)
        return _counted(plain.call_filter(name, values[0], values[1:], kwargs, context))

    return metered


def _pay_for_join(value: Any, d: Any = "", attribute: Any = None) -> None:
    operations.pay_for_join(str(d), value if hasattr(value, "__len__") else ())


def _test(name: str, plain: Sandbox) -> Callable[..., Any]:
    """The test of this name, which pays for what it does."""

    @pass_context
    def metered(context: Context, *args: Any, **kwargs: Any) -> Any:
        pay(FILTER)
        if name not in _CHEAP_TESTS:
            pay_for(*args)
        return plain.call_test(name, args[0], args[1:], kwargs, context)

    return metered


def _materialized(value: Any) -> Any:
    """A list of what a filter yields, so that its size is known."""
    return list(cast(Iterator[Any], value)) if isinstance(value, GeneratorType) else value


def _counted(value: Any) -> Any:
    return _steps(cast(Iterator[Any], value)) if isinstance(value, Iterator) else value


def _steps(values: Iterator[Any]) -> Iterator[Any]:
    for value in values:
        pay(ITERATION)
        yield value


class _Formatter(SandboxedFormatter):
    """Python's `str.format`, whose fields are paid for."""

    def format_field(self, value: Any, format_spec: str) -> Any:
        pay(FILTER)
        pay_for_result("format", operations.numbers_in(format_spec) + len(format_spec) + weight(value))
        return super().format_field(value, format_spec)


class _Namespace(Namespace):
    """A namespace whose text does not grow with its values."""

    def __repr__(self) -> str:
        return "<namespace>"


def _output(value: object) -> object:
    if value is None:
        return ""
    pay_for(value)
    return value


def _to_json(value: object, indent: object = None) -> str:
    if indent is not None and (not isinstance(indent, int) or indent > _MOST_INDENT):
        raise ValueError(f"the indent of tojson should be a number of at most {_MOST_INDENT}")
    if indent is None:
        return json.dumps(value, ensure_ascii=False, default=str)
    parts: list[str] = []
    for part in json.JSONEncoder(ensure_ascii=False, indent=indent, default=str).iterencode(value):
        pay_for_result("tojson", len(part))
        parts.append(part)
    return "".join(parts)
