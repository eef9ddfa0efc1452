"""Types of fields that accept more than they hold, such as `role="user"` for a `Role`.

At run time, pydantic's validators convert the values. A type checker cannot know that. It sees a descriptor instead:
`__set__` says what the constructor and an assignment accept, `__get__` says what the field holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

# Defaults of such fields. A type checker must not compare them with the descriptor.
NONE: Any = None
EMPTY_TEXT: Any = ""

Held = TypeVar("Held", covariant=True)
Accepted = TypeVar("Accepted", contravariant=True)


class Accepts(Generic[Held, Accepted]):
    """For type checkers only: a field that holds a `Held`, and accepts an `Accepted`."""

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: Any) -> Any: ...

        @overload
        def __get__(self, instance: object, owner: Any) -> Held: ...

        def __get__(self, instance: object | None, owner: Any) -> Any: ...

        def __set__(self, instance: Any, value: Accepted) -> None: ...
