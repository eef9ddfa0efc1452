"""Tools: Python functions become definitions, and a call's arguments are read back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from asyncinfer.types import Conversation, FunctionCall, FunctionDefinition, ToolDefinition


class Place(BaseModel):
    city: str


def get_weather(city: str, unit: Literal["C", "F"] = "C", days: int = 1) -> str:
    """Tell the weather.

    It is always sunny.

    Args:
        city: The city's name,
          as people write it: in full.
        unit (str, optional): The scale.
        days: How far
            ahead.

    Returns:
        city: not an argument.
    """
    return f"{city} {unit} {days}"


def parameters(function: Callable[..., Any]) -> dict[str, Any]:
    described = ToolDefinition.from_callable(function).function.parameters
    assert described is not None
    return described


def test_definition_is_made_from_type_hints_and_docstring() -> None:
    tool = ToolDefinition.from_callable(get_weather)

    assert tool.function.name == "get_weather"
    assert tool.function.description == "Tell the weather.\n\nIt is always sunny."
    assert parameters(get_weather) == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The city's name, as people write it: in full."},
            "unit": {"type": "string", "enum": ["C", "F"], "description": "The scale.", "default": "C"},
            "days": {"type": "integer", "description": "How far ahead.", "default": 1},
        },
        "required": ["city"],
    }


def test_conversation_accepts_functions_definitions_and_dicts() -> None:
    definition = ToolDefinition.from_callable(get_weather)
    data: dict[str, Any] = {"messages": [], "tools": [get_weather, definition, definition.model_dump()]}

    conversation = Conversation.from_dict(data)

    assert conversation.tools == [definition] * 3
    assert Conversation.from_json(conversation.to_json()) == conversation
    assert conversation.to_dict()["tools"][0]["type"] == "function"


def test_model_of_several_arguments_has_one_definition_at_the_root() -> None:
    def travel(start: Place, end: Place) -> None: ...

    schema = parameters(travel)

    assert schema["properties"]["start"] == schema["properties"]["end"] == {"$ref": "#/$defs/Place"}
    assert schema["$defs"]["Place"]["properties"]["city"]["type"] == "string"


def test_annotation_describes_an_argument() -> None:
    def search(query: Annotated[str, Field(description="What to look for.", max_length=9)]) -> None: ...

    expected = {"type": "string", "description": "What to look for.", "maxLength": 9}
    assert parameters(search)["properties"] == {"query": expected}


def test_definition_of_a_method_has_no_self() -> None:
    class Shop:
        def buy(self, item: str) -> None: ...

    assert list(parameters(Shop().buy)["properties"]) == ["item"]


def test_function_without_docstring_and_arguments_is_a_tool() -> None:
    def ping() -> None: ...

    function = ToolDefinition.from_callable(ping).function
    assert function.description is None
    assert function.parameters == {"type": "object", "properties": {}, "required": []}


def bare(x) -> None:  # type: ignore[no-untyped-def]  # pyright: ignore
    ...


def starred(*names: str) -> None: ...


def unresolved(x: Missing) -> None:  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore
    ...


def not_json(x: Callable[[], None]) -> None: ...


def odd_default(x: Any = object()) -> None: ...  # noqa: B008


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (bare, "tool 'bare': argument 'x' has no type hint"),
        (starred, "list each argument by name"),
        (unresolved, "'Missing' is not defined"),
        (not_json, "tool 'not_json'"),
        (odd_default, "tool 'odd_default'"),
    ],
)
def test_unsupported_function_is_refused(function: Callable[..., Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ToolDefinition.from_callable(function)
    with pytest.raises(ValidationError, match=said):
        Conversation.from_dict({"messages": [], "tools": [function]})


def test_unknown_keys_are_kept() -> None:
    data = {"name": "f", "return": {"type": "string"}, "parameters": {"anyOf": [{"default": None}]}}
    assert FunctionDefinition.model_validate(data).model_dump(exclude_unset=True) == data


class TestFunctionCallArguments:
    def test_arguments_are_json_text(self) -> None:
        call = FunctionCall.model_validate({"name": "f", "arguments": {"city": "Zürich"}})
        assert call.arguments == '{"city": "Zürich"}'
        assert call.get_arguments_dict() == {"city": "Zürich"}

    def test_empty_arguments_are_an_empty_object(self) -> None:
        assert FunctionCall(name="f", arguments="").get_arguments_dict() == {}

    @pytest.mark.parametrize(("text", "said"), [("{", "not JSON"), ("[1]", "a list, not an object")])
    def test_malformed_arguments_raise_value_error(self, text: str, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            FunctionCall(name="f", arguments=text).get_arguments_dict()

    def test_number_as_arguments_is_refused(self) -> None:
        with pytest.raises(ValidationError, match="arguments"):
            FunctionCall.model_validate({"name": "f", "arguments": 5})
