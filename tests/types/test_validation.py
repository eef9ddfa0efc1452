"""Messages about rows that pydantic cannot validate."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from asyncinfer import Conversation
from asyncinfer.types.validation import validation_message

NO_CONTENT = {"role": "user"}


def problems(row: dict[str, Any], *above: str) -> str:
    with pytest.raises(ValidationError) as error:
        Conversation.from_dict(row)
    return validation_message(error.value, *above)


def test_message_names_the_keys_that_lead_to_the_value() -> None:
    row = {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "x"}]}]}
    assert problems({"messages": [{"role": 1, "content": "a"}]}).startswith("messages.0.role: Input should be")
    assert problems(row, "body").startswith("body.messages.0.content.items.1.type: Input should be")


def test_message_has_the_first_three_problems() -> None:
    assert problems({"messages": [NO_CONTENT] * 4}).count("a message needs") == 3
