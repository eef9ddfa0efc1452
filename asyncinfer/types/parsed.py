"""The type of a conversation's parsed answer.

Type checkers see `Conversation` as a generic class: `Conversation[City]` is a conversation whose answer was parsed as
`City`. At run time, `Conversation[City]` is `Conversation` itself, so that equality, pickling and `isinstance` do not
depend on the type of the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic

# The name under which an instance keeps its parsed answer. pydantic ignores names that are no fields when it compares,
# writes and shows models.
PARSED = "_parsed"

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    ParsedT = TypeVar("ParsedT", default=Any, covariant=True)
    M = TypeVar("M", default=Any)
    """The model of the answers of one call. Without a model, it is Any."""
    ResponseModel = type[M] | dict[str, Any] | str
    """What methods accept as `response_model`: a class, a JSON schema, or `package.module:Class`."""

    class ParsedAnswer(Generic[ParsedT]):
        """Adds the property `parsed`."""

        @property
        def parsed(self) -> ParsedT:
            """The last answer, parsed and validated, if the call had a `response_model`.

            It is an instance of that class, or the JSON value if `response_model` was a JSON schema. It is None without
            `response_model`, and for an answer that only calls tools. It is not part of the JSON, the repr and the
            equality of a conversation.
            """
            ...

else:
    from typing import TypeVar

    ParsedT = TypeVar("ParsedT", covariant=True)
    M = TypeVar("M")
    ResponseModel = Any

    class ParsedAnswer:
        """Adds the property `parsed`."""

        def __class_getitem__(cls, item: object) -> type:
            return cls

        @property
        def parsed(self) -> object:
            """The last answer, parsed and validated, if the call had a `response_model`.

            It is an instance of that class, or the JSON value if `response_model` was a JSON schema. It is None without
            `response_model`, and for an answer that only calls tools. It is not part of the JSON, the repr and the
            equality of a conversation.
            """
            return self.__dict__.get(PARSED)
