"""The model of typed answers, as a setting: a pydantic class, its name `package.module:Class`, or a JSON schema, which
may be in a file.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast, get_args, get_origin

from pydantic import BaseModel, PydanticUserError, TypeAdapter
from pydantic_core import from_json, to_json

from asyncinfer.errors import ConfigError, error_name_and_text, error_text
from asyncinfer.types.json_object import json_object
from asyncinfer.types.paths import expanded, read_text

_NAME = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_FILE = ".json"
_ALLOWED = "a pydantic model class, its name as package.module:Class, a JSON schema, or a file NAME.json with one"
_KEY = "generation.response_model"


def checked(model: Any) -> Any:
    """Return the setting. A JSON schema may be JSON text. Nothing is imported or read.

    Raises:
        ValueError: It is not a model. The message says what is allowed.
    """
    if isinstance(model, str):
        return _checked_text(model)
    if isinstance(model, dict):
        return _checked_schema(cast(dict[str, Any], model))
    if model is not None and not is_model_class(model):
        _check_type(model)
    return model


def is_model_class(model: Any) -> bool:
    """Whether `model` is a class of pydantic models."""
    return isinstance(model, type) and issubclass(model, BaseModel)


def loaded(model: Any) -> Any:
    """Return the class that a name stands for, or the schema in a file; other models unchanged.

    Imports the module of the class, which may block for long. The module may be in the working directory, as for a
    script that is there.

    Raises:
        ConfigError: The module cannot be imported, or has no such class. The file cannot be read, or has no schema.
    """
    if not isinstance(model, str):
        return model
    if model.endswith(_FILE):
        return _schema_in(model)
    module_name, _, path = model.partition(":")
    found: Any = _imported(module_name, model)
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise ConfigError(f"{_KEY}: {model}: the module {module_name} has no {path}") from None
    try:
        return checked(found)
    except ValueError as error:
        raise ConfigError(f"{_KEY}: {model}: {error}") from None


def schema_of(model: Any) -> dict[str, Any]:
    """Return the JSON schema of a model.

    Raises:
        ConfigError: It is a name that cannot be imported, or the model has no JSON schema.
    """
    found = loaded(model)
    if isinstance(found, dict):
        return cast(dict[str, Any], found)
    try:
        if is_model_class(found):
            return cast(type[BaseModel], found).model_json_schema()
        return TypeAdapter[Any](found).json_schema()
    except PydanticUserError as error:
        raise ConfigError(f"{_KEY}: {name_of(found)} has no JSON schema: {error_text(error).splitlines()[0]}") from None
    except Exception as error:  # A type may make its schema by code of its own, which may raise anything.
        raised = error_name_and_text(error)
        raise ConfigError(f"{_KEY}: {name_of(found)} has no JSON schema: its code raised {raised}") from error


def name_of(model: Any) -> str:
    """Return the name of a model in messages: that of its class, or the title of its schema."""
    if isinstance(model, dict):
        return str(cast(dict[str, Any], model).get("title") or "the JSON schema")
    if isinstance(model, str):
        return model.rpartition(":")[2]
    if get_origin(model) is Annotated:
        return name_of(get_args(model)[0])
    return model.__name__ if isinstance(model, type) else str(model).replace("typing.", "")


def written(model: Any) -> Any:
    """Return the setting as it is written in YAML: a class by its name, other types as their JSON schema."""
    if isinstance(model, str | dict | None):
        return cast(Any, model)
    name = f"{model.__module__}:{model.__qualname__}" if isinstance(model, type) else ""
    # Another process cannot import a class of the main program, of a function or with type arguments.
    if _NAME.fullmatch(name) and model.__module__ != "__main__":
        return name
    return schema_of(model)


def _checked_text(text: str) -> str | dict[str, Any]:
    if _NAME.fullmatch(text) or text.endswith(_FILE):
        return text
    if (schema := json_object(text)) is None:
        raise ValueError(f"should be {_ALLOWED}")
    return schema


def _schema_in(path: str) -> dict[str, Any]:
    text = read_text(expanded(path, _KEY), _KEY)
    try:
        schema: Any = from_json(text)
    except ValueError as error:
        raise ConfigError(f"{_KEY}: {path} is not JSON: {error}") from None
    if not isinstance(schema, dict):
        raise ConfigError(f"{_KEY}: {path} should have a JSON schema, which is an object")
    return cast(dict[str, Any], schema)


def _checked_schema(schema: dict[str, Any]) -> dict[str, Any]:
    try:
        to_json(schema)
    except ValueError as error:
        raise ValueError(f"cannot be written as JSON: {error}") from None
    return schema


def _check_type(model: Any) -> None:
    """Check that pydantic can validate a type, such as `list[City]` or a dataclass.

    Raises:
        ValueError: It cannot.
    """
    if isinstance(model, int | float | list | tuple | set):
        raise ValueError(f"should be {_ALLOWED}")
    if isinstance(model, type) and any(base.__module__.startswith("pydantic.v1.") for base in model.__mro__):
        why = "is a model of pydantic 1 (pydantic.v1); derive it from pydantic.BaseModel"
        raise ValueError(f"should be {_ALLOWED}: {model.__name__} {why}")
    try:
        TypeAdapter(model)
    except (PydanticUserError, TypeError, NameError) as error:
        what = f": {name_of(model)}: {error_text(error).splitlines()[0]}" if _is_type(model) else ""
        raise ValueError(f"should be {_ALLOWED}{what}") from None


def _is_type(model: Any) -> bool:
    return isinstance(model, type) or get_origin(model) is not None


def _imported(name: str, model: str) -> Any:
    try:
        with _working_directory_first():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise ConfigError(
                f"{_KEY}: {model}: there is no module {error.name} in {Path.cwd()} or among the installed packages"
            ) from None
        problem = error_text(error)
    except (Exception, SystemExit) as error:  # The code of the module may raise anything, or be a program.
        problem = f"{type(error).__name__}: {error_text(error)}"
    raise ConfigError(f"{_KEY}: {model}: the module {name} cannot be imported: {problem}")


@contextmanager
def _working_directory_first() -> Generator[None]:
    """Let imports find modules in the working directory, as Python does for a script that is there."""
    folder = str(Path.cwd())
    if "" in sys.path or folder in sys.path:
        yield
        return
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
