"""Messages for clients have no URLs, addresses, settings and paths of the server."""

from __future__ import annotations

import pytest

from asyncinfer.serve.client_message import client_message


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the prompt has 9,000 tokens; the model allows 4,096", "the prompt has 9,000 tokens; the model allows 4,096"),
        ("`top_p` should be at most 1. Found 3.", "`top_p` should be at most 1. Found 3."),
        ("no answer within 300 s (remote_params.connection_timeout)", "no answer within 300 s"),
        ("the image is no PNG or JPEG and/or broken", "the image is no PNG or JPEG and/or broken"),
        ("Not Found. It went to https://llm.internal/v1; check the port.", "Not Found."),
        ("Cannot connect to host llm.internal:8080 ssl:default", "default"),
        ("Cannot connect to 10.0.0.5", "default"),
        ("[Errno 2] No such file: '/models/secret.gguf'", "default"),
        ("cannot read C:\\models\\secret.gguf", "default"),
        ("too long. Raise model.model_max_length", "too long."),
        ("too many. Start it with --max-model-len 4096", "too many."),
    ],
)
def test_only_what_clients_may_see_is_left(text: str, shown: str) -> None:
    assert client_message(text, "default") == shown
