"""The setting `generation.response_model`: classes, their names, and JSON schemas."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic_core import to_json

from asyncinfer import ConfigError, GenerationParams, InferenceConfig
from asyncinfer.config.response_model import loaded, name_of, schema_of
from asyncinfer.run.answer_model import AnswerModel

MODULE = """
from pydantic import AfterValidator, BaseModel, ConfigDict
from {helper} import Name

class Person(BaseModel):
    name: Name

class Outer:
    class Inner(BaseModel):
        n: int

number = 5
"""


class City(BaseModel):
    """At the top level of a module, so that it has a name that can be imported."""

    name: str


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of a program that is installed elsewhere, with two modules of the user."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(Path.cwd()))])
    before = set(sys.modules)
    (tmp_path / "typed_people.py").write_text(MODULE.format(helper="typed_names"))
    (tmp_path / "typed_names.py").write_text("Name = str")
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("typed_", "broken_")):
            del sys.modules[name]


def test_class_is_imported_from_the_working_directory(folder: Path) -> None:
    before = list(sys.path)
    person = loaded("typed_people:Person")
    assert person(name="Ada").name == "Ada"
    assert loaded("typed_people:Outer.Inner")(n=1).n == 1
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("typed_nothing:Person", "typed_nothing:Person: there is no module typed_nothing in "),
        ("typed_people:Nobody", "the module typed_people has no Nobody"),
        ("typed_people:number", "typed_people:number: should be a pydantic model class, its name as"),
        ("typed_people.inner:Person", "there is no module typed_people.inner in|cannot be imported"),
        ("broken_code:A", "the module broken_code cannot be imported: ZeroDivisionError"),
        ("broken_import:A", "the module broken_import cannot be imported: No module named 'typed_missing'"),
    ],
)
def test_message_says_why_a_name_cannot_be_imported(folder: Path, name: str, message: str) -> None:
    (folder / "broken_code.py").write_text("1 / 0")
    (folder / "broken_import.py").write_text("import typed_missing")
    with pytest.raises(ConfigError, match=f"generation.response_model: .*({message})"):
        loaded(name)


def test_name_is_not_imported_when_a_configuration_is_read() -> None:
    config = InferenceConfig.from_str("generation: {response_model: 'typed_nowhere:Person'}")
    assert config.generation.response_model == "typed_nowhere:Person"


@pytest.mark.parametrize("text", ["Person", "a b:C", ":C", "a:", "[1, 2]", "3"])
def test_text_that_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"response_model: should be .*package\.module:Class.* \(found"):
        InferenceConfig.from_str("{}", [f"generation.response_model='{text}'"])


def test_schema_may_be_written_in_yaml_or_as_json() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    for text in (str(schema), '\'{"type": "object", "properties": {"n": {"type": "integer"}}}\''):
        config = InferenceConfig.from_str(f"generation:\n  response_model: {text}")
        assert config.generation.response_model == schema


class TestFiles:
    SCHEMA: ClassVar = {"type": "object", "properties": {"n": {"type": "integer"}}}

    def test_schema_may_be_in_a_file(self, folder: Path) -> None:
        (folder / "shape.json").write_bytes(to_json(self.SCHEMA))
        for path in ("shape.json", str(folder / "shape.json")):
            params = InferenceConfig.from_str("{}", [f"generation.response_model={path}"]).generation
            assert params.response_model == path
            assert loaded(path) == self.SCHEMA
            assert params.hashed_values() == {"response_model": self.SCHEMA}

    def test_file_is_not_read_when_a_configuration_is_read(self) -> None:
        assert InferenceConfig.from_str("generation: {response_model: a.json}").generation.response_model == "a.json"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (None, "shape.json cannot be read: No such file"),
            (b"{", "shape.json is not JSON: EOF while parsing"),
            (b"[]", "shape.json should have a JSON schema"),
            (b"\xff", "shape.json is not UTF-8 text"),
        ],
    )
    def test_wrong_file_is_named(self, folder: Path, text: bytes | None, message: str) -> None:
        if text is not None:
            (folder / "shape.json").write_bytes(text)
        with pytest.raises(ConfigError, match=f"generation.response_model: {message}"):
            loaded("shape.json")


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("model", "written"),
    [
        (City, "test_response_model:City"),
        (Point, "test_response_model:Point"),
        ("a.b:C", "a.b:C"),
        ({"type": "integer"}, {"type": "integer"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
    ],
)
def test_configuration_that_is_written_can_be_read_again(model: Any, written: Any, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    InferenceConfig(generation=GenerationParams(response_model=model)).to_yaml(path)
    read = InferenceConfig.from_yaml(path).generation.response_model
    assert read == written or read.endswith(written)


def test_forms_of_one_schema_have_one_key(folder: Path) -> None:
    person = loaded("typed_people:Person")
    schema = person.model_json_schema()
    for form in (person, "typed_people:Person", schema, to_json(schema).decode()):
        assert GenerationParams(response_model=form).hashed_values() == {"response_model": schema}


def test_retries_are_no_part_of_the_key() -> None:
    assert GenerationParams(max_validation_retries=7).hashed_values() == {}


def test_schema_of_any_type() -> None:
    assert schema_of(list[int]) == {"type": "array", "items": {"type": "integer"}}


class Broken(BaseModel):
    @classmethod
    def __get_pydantic_json_schema__(cls, *_: Any) -> Any:
        raise KeyError("a")


class Opaque(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    place: Path
    lock: ClassVar[object] = object()
    call: Callable[[int], int]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Broken, "Broken has no JSON schema: its code raised KeyError: 'a'"),
        (Opaque, "Opaque has no JSON schema: Cannot generate a JsonSchema for core_schema.CallableSchema"),
        (list[Opaque], r"list\[.*Opaque\] has no JSON schema: "),
    ],
)
def test_class_without_a_schema_is_named(model: Any, message: str) -> None:
    params = GenerationParams(response_model=model)
    for use in (lambda: AnswerModel(model), params.hashed_values):
        with pytest.raises(ConfigError, match=f"^generation.response_model: {message}"):
            use()


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="pydantic.v1 does not work with Python 3.14")
def test_models_of_pydantic_1_are_refused() -> None:
    from pydantic import v1

    class Old(v1.BaseModel):
        name: str

    with pytest.raises(ConfigError, match="response_model: should be .*: Old is a model of pydantic 1 .*; derive it"):
        GenerationParams(response_model=Old)


def test_reason_of_pydantic_is_in_the_message() -> None:
    with pytest.raises(
        ConfigError, match=r"response_model: should be .*: Odd: Unable to generate pydantic-core schema"
    ):
        GenerationParams(response_model=type("Odd", (), {}))


T = TypeVar("T")


class Box(BaseModel, Generic[T]):
    content: T


def test_class_that_another_process_cannot_import_is_written_as_its_schema() -> None:
    main = type("Main", (City,), {"__module__": "__main__"})
    for model in (Box[int], main):
        assert GenerationParams(response_model=model).model_dump(mode="json")["response_model"] == schema_of(model)


def test_name_of_an_annotated_type_is_that_of_the_type() -> None:
    assert name_of(Annotated[City, AfterValidator(repr)]) == "City"


@pytest.mark.parametrize("code", ["raise SystemExit(2)", "import sys; sys.exit('usage: ...')"])
def test_program_that_exits_when_it_is_imported_is_named(folder: Path, code: str) -> None:
    (folder / "broken_program.py").write_text(code)
    with pytest.raises(ConfigError, match="the module broken_program cannot be imported: SystemExit: (2|usage)"):
        loaded("broken_program:City")


def test_types_without_a_schema_are_refused() -> None:
    class Odd:
        pass

    with pytest.raises(ConfigError, match="response_model: should be a pydantic model class"):
        GenerationParams(response_model=Odd)
