"""A provider is a row of data: where its API is, what it speaks, and which key it wants."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import cast

from asyncinfer.dialects.base import Dialect
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.providers.auth import Auth, Key, variable_in

_PLACE = re.compile(r"{(\w+)}")


@dataclass(frozen=True, slots=True)
class Provider:
    """Where an API is, what it speaks, and how its requests are authorised.

    `url`: where chats go; None where the user says it. What stands in braces there are environment variables, of
    which `places` names others that will do. `listing`: where models are listed, if not beside the chats.
    `workers`: how many requests may be in flight, unless the user says it. `not_chat`: how the names of models begin
    that cannot chat; `chat_types`: what a listing says of those that can, if it tells under `type`. `url_transform`:
    changes a URL whose places are filled.
    """

    name: str
    url: str | None = None
    auth: Auth = field(default_factory=Key)
    dialect: Dialect = field(default_factory=openai_chat)
    listing: str | None = None
    workers: int = 50
    not_chat: tuple[str, ...] = ()
    chat_types: frozenset[str] = frozenset()
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    url_transform: Callable[[str], str] = str

    def chats(self, entry: Mapping[str, object]) -> bool:
        """Whether the model of this entry of the listing can chat, as far as is known.

        Beside `type`, listings tell by `supports_chat` (Fireworks), or by what the model puts out under
        `architecture` (OpenRouter, Hugging Face).
        """
        known = str(entry["id"]).startswith(self.not_chat) or entry.get("type") not in (None, *self.chat_types)
        return not known and entry.get("supports_chat") is not False and "text" in _outputs(entry)

    def filled(
        self, url: str | None, environ: Mapping[str, str] | None = None, given: Mapping[str, str] | None = None
    ) -> str | None:
        """`url` with its placeholders replaced by environment variables; None if one of them is not set.

        Args:
            environ: The environment variables; those of this process by default.
            given: Values that take precedence over the environment.
        """
        if url is None:
            return None
        values = {name: (given or {}).get(name) or self._value(name, environ) for name in _PLACE.findall(url)}
        return self.url_transform(_PLACE.sub(lambda place: values[place[1]], url)) if all(values.values()) else None

    def wanted(self) -> str:
        """What the user must say for the API to be found."""
        if self.url is None:
            return f"the URL of the API, such as http://localhost:8000/v1{self.dialect.path}"
        return "it, or the environment variables " + " and ".join(dict.fromkeys(_PLACE.findall(self.url)))

    def _value(self, name: str, environ: Mapping[str, str] | None) -> str:
        values = (variable_in(environ, other) for other in (name, *self.places.get(name, ())))
        return next((value for value in values if value), "")


def _outputs(entry: Mapping[str, object]) -> Container[object]:
    """What a model puts out: `text` where its entry does not tell."""
    architecture = entry.get("architecture")
    told = cast(Mapping[str, object], architecture).get("output_modalities") if isinstance(architecture, dict) else None
    return cast(list[object], told) if isinstance(told, list) else ("text",)
