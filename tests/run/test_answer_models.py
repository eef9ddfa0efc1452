"""What may be the type of typed answers, and what the text of an answer may look like."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PrivateAttr, RootModel
from typing_extensions import TypedDict

from asyncinfer.run.answer_model import AnswerModel, InvalidValueError

T = TypeVar("T")


class City(BaseModel):
    name: str
    people: int = Field(ge=0)


class Box(BaseModel, Generic[T]):
    content: T


class Cities(RootModel[list[City]]):
    pass


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Movie(TypedDict):
    title: str


class Pair(NamedTuple):
    left: int
    right: str


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Pet(BaseModel):
    pet: Cat | Dog = Field(discriminator="kind")


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


class Aliased(BaseModel):
    full_name: str = Field(alias="fullName")
    size: int = Field(validation_alias=AliasChoices("size", "Size"))


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    a: int


class Bill(BaseModel):
    total: Decimal
    day: date


class Private(BaseModel):
    a: int
    _seen: list[int] = PrivateAttr(default_factory=list[int])

    def model_post_init(self, context: Any, /) -> None:
        self._seen.append(self.a)


TOKYO = '{"name": "Tokyo", "people": 14}'
CITY = City(name="Tokyo", people=14)


@pytest.mark.parametrize(
    ("model", "text", "value"),
    [
        (City, TOKYO, CITY),
        (Box[City], f'{{"content": {TOKYO}}}', Box[City](content=CITY)),
        (Cities, f"[{TOKYO}]", Cities([CITY])),
        (list[int], "[1, 2]", [1, 2]),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (tuple[int, str], '[1, "a"]', (1, "a")),
        (City | None, "null", None),
        (City | list[City], f"[{TOKYO}]", [CITY]),
        (Literal["yes", "no"], "yes", "yes"),
        (Colour, "red", Colour.RED),
        (bool, "true", True),
        (int, " 42\n", 42),
        (Annotated[int, Field(gt=3)], "4", 4),
        (Point, '{"x": 1}', Point(1)),
        (Movie, '{"title": "Alien"}', {"title": "Alien"}),
        (Pair, '[1, "a"]', Pair(1, "a")),
        (Pet, '{"pet": {"kind": "dog", "name": "Rex"}}', Pet(pet=Dog(kind="dog", name="Rex"))),
        (Tree, '{"value": 1, "children": [{"value": 2}]}', Tree(value=1, children=[Tree(value=2)])),
        (Aliased, '{"fullName": "Ada", "Size": 3}', Aliased.model_validate({"fullName": "Ada", "size": 3})),
        (Bill, '{"total": "1.10", "day": "2026-11-27"}', Bill(total=Decimal("1.10"), day=date(2026, 11, 27))),
        (Private, '{"a": 1}', Private(a=1)),
        ({"type": "array", "items": {"type": "integer"}}, "[1]", [1]),
        ({"type": ["object", "null"]}, '{"a": 1}', {"a": 1}),
        ({"type": ["string", "null"]}, "yes", "yes"),
    ],
    ids=str,
)
def test_answer_becomes_a_value_of_any_type(model: Any, text: str, value: Any) -> None:
    model = AnswerModel(model)
    assert model.parse(text) == value
    json.dumps(model.schema)


@pytest.mark.parametrize(
    ("model", "text", "problem"),
    [
        (Closed, '{"a": 1, "b": 2}', "b: extra inputs are not permitted"),
        (Pet, '{"pet": {"kind": "cow"}}', "pet: .*kind.*'cat', 'dog'"),
        (Bill, '{"total": "much", "day": "2026-11-27"}', "total: should be a valid decimal"),
        (Bill, '{"total": 1, "day": "tomorrow"}', r"day: should be a valid date .* \(found 'tomorrow'\)"),
        (Tree, '{"value": 1, "children": [{"value": "x"}]}', r"children\.0\.value: should be a valid integer"),
        (Annotated[int, Field(gt=3)], "2", r"should be greater than 3 \(found 2\)"),
        (City | list[City], '{"name": "Tokyo"}', "City.people: is missing"),
        (Colour, "green", "should be 'red' or 'blue'"),
    ],
    ids=str,
)
def test_problem_names_the_field(model: Any, text: str, problem: str) -> None:
    with pytest.raises(InvalidValueError, match=f"^{problem}"):
        AnswerModel(model).parse(text)


class TestTexts:
    @pytest.mark.parametrize(
        "text",
        [
            TOKYO,
            f"\n\n{TOKYO}\n",
            f"The capital is Tokyo.\n{TOKYO}",
            f"{TOKYO}\nThat is all.",
            f"```json\n{TOKYO}\n```",
            f"Here:\n~~~\n{TOKYO}\n~~~",
            f'```\n{{"name": "Rome"}}\n```\nBetter:\n```json\n{TOKYO}\n```',
            '{"name": "Rome", "name": "Tokyo", "people": 14}',
            '{"name": "Tokyo", "people": 14, "more": NaN}',
            f'{{"name": "Tokyo", "people": 14, "more": 1{"0" * 400}}}',
            f'{{"name": "Tokyo", "people": 14, "more": {"[" * 100}{"]" * 100}}}',
        ],
    )
    def test_city_is_found(self, text: str) -> None:
        model = AnswerModel(City)
        assert model.parse(text) == CITY
        assert all(City.model_validate(value) == CITY for value in model.json_values(text))

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "it is not complete JSON"),
            ("Tokyo", "it is not complete JSON"),
            ('{"name": "Tok', "it is not complete JSON"),
            (TOKYO[:-1] + ",}", "it is not complete JSON"),
            (f'{{"name": "Tokyo", "people": 1{"0" * 5000}}}', "people: unable to parse .*exceeded maximum size"),
            ("[" * 5000 + "]" * 5000, "it is not complete JSON"),
            ("[]", "should be an object"),
            ('{"name": "Tokyo", "people": NaN}', r"people: should be a finite number \(found nan\)"),
            ('{"name": "Tokyo", "people": 1.5}', "people: should be a valid integer"),
            ('{"name": null, "people": 1}', r"name: should be a valid string \(found None\)"),
        ],
    )
    def test_problem_is_named(self, text: str, problem: str) -> None:
        with pytest.raises(InvalidValueError, match=problem):
            AnswerModel(City).parse(text)

    def test_recursive_model_refuses_an_answer_that_is_nested_too_deep(self) -> None:
        text = '{"value": 1, "children": [' * 150 + '{"value": 2}' + "]}" * 150
        with pytest.raises(InvalidValueError):
            AnswerModel(Tree).parse(text)

    def test_not_a_number_is_a_value_of_a_float(self) -> None:
        assert math.isnan(AnswerModel(Box[float]).parse('{"content": NaN}').content)


class TestSchemas:
    @pytest.mark.parametrize("frames", [0, 250])
    def test_nested_answer_is_a_problem_of_the_answer(self, frames: int) -> None:
        pytest.importorskip("jsonschema")
        schema = {"type": "object", "properties": {"a": {"$ref": "#"}}}
        deep = '{"a": ' * 190 + "{}" + "}" * 190

        def parse_below(frames: int) -> None:
            if frames:
                parse_below(frames - 1)
            else:
                AnswerModel(schema).parse(deep)

        with pytest.raises(InvalidValueError, match="it is nested too deep"):
            parse_below(frames)
        assert AnswerModel(schema).parse('{"a": {"a": {}}}') == {"a": {"a": {}}}
