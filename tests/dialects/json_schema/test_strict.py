"""Schemas for OpenAI's strict mode have only the keywords that it accepts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, HttpUrl

from asyncinfer.dialects.json_schema.strict import to_openai_strict, to_strict

Json = dict[str, Any]


class Cat(BaseModel):
    kind: Literal["cat"]
    name: Annotated[str, Field(min_length=1, description="Its name.")]


class Dog(BaseModel):
    kind: Literal["dog"]
    home: HttpUrl
    size: tuple[int, str]
    tags: Annotated[set[str], Field(min_length=1)]


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


def keywords(schema: Any) -> set[str]:
    """All keywords of a schema and its subschemas."""
    if isinstance(schema, list):
        return set().union(*map(keywords, schema))
    if not isinstance(schema, dict):
        return set()
    named = [one for key in ("properties", "$defs") for one in schema.get(key, {}).values()]
    return schema.keys() | keywords(named) | keywords([schema.get(key) for key in ("items", "anyOf")])


def test_schema_of_a_discriminated_union_has_only_accepted_keywords() -> None:
    made = to_openai_strict(Owner.model_json_schema())
    accepted = {
        "$defs",
        "$ref",
        "additionalProperties",
        "anyOf",
        "const",
        "description",
        "items",
        "maxItems",
        "minItems",
    }
    assert keywords(made) <= accepted | {"properties", "required", "title", "type"}
    assert made["properties"]["pet"]["anyOf"] == [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]


def test_refused_constraints_are_in_the_descriptions() -> None:
    definitions = to_openai_strict(Owner.model_json_schema())["$defs"]
    assert definitions["Cat"]["properties"]["name"]["description"] == "Its name.\n\n{minLength: 1}"
    dog = definitions["Dog"]["properties"]
    assert dog["home"]["description"] == "{format: uri, maxLength: 2083, minLength: 1}"
    assert dog["tags"] == {
        "type": "array",
        "title": "Tags",
        "items": {"type": "string"},
        "minItems": 1,
        "description": "{uniqueItems: True}",
    }


def test_tuple_becomes_a_list_of_any_of_its_types() -> None:
    size = to_openai_strict(Owner.model_json_schema())["$defs"]["Dog"]["properties"]["size"]
    assert size["items"] == {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert (size["minItems"], size["maxItems"]) == (2, 2)


@pytest.mark.parametrize(
    ("schema", "items"),
    [
        ({"prefixItems": [{"type": "string"}, {"type": "string"}]}, {"type": "string"}),
        (
            {"prefixItems": [{"type": "string"}], "items": {"type": "null"}},
            {"anyOf": [{"type": "string"}, {"type": "null"}]},
        ),
        ({"prefixItems": [{"type": "string"}], "items": False}, {"type": "string"}),
    ],
)
def test_items_of_a_tuple(schema: Json, items: Json) -> None:
    assert to_openai_strict(schema)["items"] == items


@pytest.mark.parametrize(
    "keyword", ["not", "if", "dependentRequired", "patternProperties", "propertyNames", "contains"]
)
def test_keyword_that_strict_mode_refuses_is_described(keyword: str) -> None:
    assert to_openai_strict({"type": "string", keyword: {}}) == {
        "type": "string",
        "description": f"{{{keyword}: {{}}}}",
    }


@pytest.mark.parametrize(
    "keyword", ["minimum", "maximum", "multipleOf", "pattern", "minItems", "maxItems", "title", "default"]
)
def test_keyword_that_strict_mode_accepts_is_kept(keyword: str) -> None:
    assert to_openai_strict({"type": "string", keyword: 1}) == {"type": "string", keyword: 1}


def test_constraint_of_a_recursive_member_is_described() -> None:
    """A schema that contains itself in an `allOf` cannot be merged."""
    node = {"allOf": [{"$ref": "#/$defs/Node"}, {"type": "object"}]}
    made = to_openai_strict({"$ref": "#/$defs/Node", "$defs": {"Node": node}})
    assert "allOf" not in keywords(made)


def test_object_with_properties_allows_no_others() -> None:
    schema = {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "string"}}
    assert to_strict(schema)["additionalProperties"] is False
    assert to_strict({"type": "object", "additionalProperties": {"type": "string"}})["additionalProperties"]
