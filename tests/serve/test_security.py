"""What a client may not do: use a server without its key, read its files, reach its network, or block it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from pydantic import SecretStr

from asyncinfer import GenerationParams
from asyncinfer.errors import ConfigError
from asyncinfer.serve.access_control import host_of, is_loopback
from asyncinfer.serve.api_errors import ApiError
from asyncinfer.serve.request_body import parsed_object
from asyncinfer.serve.server import checked_settings
from asyncinfer.serve.settings import ServerSettings
from tests.recorder import Recorder
from tests.serve.serving import ASK, QUESTION, ScriptedEngine, remote_engine, serving
from tests.work import counted_calls

KEYS = (SecretStr("first-key"), SecretStr("second-key"))
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def with_image(url: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": "Look."}, {"type": "image_url", "image_url": {"url": url}}]
    return {"messages": [{"role": "user", "content": content}], **more}


class TestKeys:
    async def test_each_key_is_accepted(self) -> None:
        async with serving(ScriptedEngine(), api_keys=KEYS) as server:
            for key in ("first-key", "second-key"):
                answer = await server.openai(key).chat.completions.create(**ASK)
                assert answer.choices[0].message.content == "Hello."

    @pytest.mark.parametrize("headers", [{}, bearer("third-key"), bearer(""), {"Authorization": "Basic first-key"}])
    async def test_other_keys_are_refused_and_nothing_is_answered(self, headers: dict[str, str]) -> None:
        engine = ScriptedEngine()
        async with serving(engine, api_keys=KEYS) as server:
            status, body = await server.post(ASK, headers=headers)
            for path in ("/v1/models", "/v1/models/my-model", "/metrics"):
                assert (await server.get(path, headers=headers))[0] == 401
        assert (status, body["error"]["code"]) == (401, "invalid_api_key")
        assert engine.asked == []

    async def test_health_needs_no_key(self) -> None:
        async with serving(ScriptedEngine(), api_keys=KEYS) as server:
            assert (await server.get("/health"))[0] == 200

    def test_keys_are_not_in_the_repr_of_the_settings(self) -> None:
        assert "first-key" not in repr(ServerSettings(api_keys=KEYS))

    def test_empty_key_is_a_config_error(self) -> None:
        with pytest.raises(ConfigError, match="a key is empty"):
            ServerSettings(api_keys=(SecretStr(""),))


class TestAddress:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", ""])
    def test_server_without_keys_listens_only_on_this_machine(self, host: str) -> None:
        with pytest.raises(ConfigError, match="it needs an API key"):
            checked_settings(ServerSettings(), host)

    def test_insecure_server_may_listen_anywhere(self) -> None:
        assert checked_settings(ServerSettings(), "0.0.0.0", insecure=True).allowed_hosts is None

    def test_server_with_keys_may_listen_anywhere(self) -> None:
        assert checked_settings(ServerSettings(api_keys=KEYS), "0.0.0.0").allowed_hosts is None

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.9.1"])
    def test_loopback_address_is_only_reached_from_this_machine(self, host: str) -> None:
        assert is_loopback(host)

    @pytest.mark.parametrize(
        ("value", "host"),
        [("LocalHost:80", "localhost"), ("[::1]:80", "::1"), ("[::1]", "::1"), ("1.2.3.4", "1.2.3.4"), ("", "")],
    )
    def test_port_is_removed_from_the_host_header(self, value: str, host: str) -> None:
        assert host_of(value) == host

    async def test_host_name_of_a_web_page_that_leads_to_this_machine_is_refused(self) -> None:
        settings = checked_settings(ServerSettings(), "127.0.0.1")
        async with serving(ScriptedEngine(), allowed_hosts=settings.allowed_hosts) as server:
            status, body = await server.post(ASK, headers={"Host": "attacker.example"})
            assert (status, body["error"]["code"]) == (403, "invalid_host")
            assert (await server.chat())[0] == 200
            assert (await server.post(ASK, headers={"Host": "localhost:8000"}))[0] == 200

    async def test_host_names_that_the_operator_allows_are_accepted(self) -> None:
        given = ServerSettings(allowed_hosts=frozenset({"Host.docker.internal"}))
        settings = checked_settings(given, "127.0.0.1")
        async with serving(ScriptedEngine(), allowed_hosts=settings.allowed_hosts) as server:
            for host in ("host.docker.internal:8000", "localhost"):
                assert (await server.post(ASK, headers={"Host": host}))[0] == 200
            assert (await server.post(ASK, headers={"Host": "attacker.example"}))[0] == 403

    async def test_form_that_a_web_page_may_send_without_permission_is_refused(self) -> None:
        async with serving(ScriptedEngine()) as server:
            url = f"{server.api}/chat/completions"
            async with server.session.post(url, data=json.dumps(ASK), headers={"Content-Type": "text/plain"}) as got:
                assert got.status == 415


class TestFiles:
    @pytest.mark.parametrize(
        "item",
        [
            {"type": "image_path", "content": "/etc/passwd"},
            {"type": "document_path", "content": "secret.pdf"},
            {"type": "image_path", "content": "file:///etc/passwd"},
            {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
            {"type": "image_url", "image_url": {"url": "/etc/passwd"}},
            {"type": "image_url", "content": "file:///etc/passwd"},
            {"type": "document_url", "content": "file:///etc/passwd"},
            {"type": "file", "file": {"file_data": "file:///etc/passwd"}},
            {"type": "file", "file": {"file_id": "file-1"}},
            {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        ],
    )
    @pytest.mark.parametrize("allow_image_urls", [False, True])
    async def test_path_in_a_message_is_refused(self, item: dict[str, Any], allow_image_urls: bool) -> None:
        engine = ScriptedEngine()
        async with serving(engine, allow_image_urls=allow_image_urls) as server:
            status, body = await server.chat(messages=[{"role": "user", "content": [item]}])
        assert (status, body["error"]["param"]) == (400, "messages[0].content[0]")
        assert engine.asked == []

    async def test_image_in_the_request_is_accepted(self) -> None:
        engine = ScriptedEngine()
        async with serving(engine) as server:
            assert (await server.chat(**with_image(PIXEL)))[0] == 200
        assert engine.asked[0][0].messages[0].image_content_items[0].content == PIXEL

    async def test_number_of_images_is_limited(self) -> None:
        message = with_image(PIXEL)["messages"][0]
        async with serving(ScriptedEngine(), max_images=2) as server:
            assert (await server.chat(messages=[message] * 2))[0] == 200
            status, body = await server.chat(messages=[message] * 3)
        assert (status, body["error"]["param"]) == (400, "messages")

    @pytest.mark.parametrize("name", ["chat_template", "tokenize", "tools", "add_generation_prompt", "adapter"])
    async def test_request_cannot_replace_the_chat_template(self, name: str) -> None:
        engine = ScriptedEngine()
        async with serving(engine) as server:
            status, body = await server.chat(chat_template_kwargs={name: "/etc/passwd"})
        assert (status, body["error"]["param"]) == (400, "chat_template_kwargs")

    async def test_request_cannot_change_the_settings_of_the_engine(self) -> None:
        engine = ScriptedEngine()
        fields = {
            "adapter_model": "/adapter",
            "api_key": "k",
            "api_url": "http://attacker.example",
            "chat_template": "/etc/passwd",
            "extra_body": {"a": 1},
            "headers": {"a": "b"},
            "lora_request": {"path": "/adapter"},
            "model_kwargs": {"a": 1},
            "remote_params": {"api_url": "http://attacker.example"},
            "use_sampling": True,
        }
        async with serving(engine) as server:
            assert (await server.chat(**fields))[0] == 200
        settings = engine.asked[0][1]
        assert settings.remote.api_url is None
        assert settings.remote.headers == {}
        assert settings.generation.extra_body == {}
        assert (settings.model.chat_template, settings.model.adapter_model) == (None, None)
        assert settings.model.model_kwargs == {}


class TestUrls:
    async def test_urls_are_refused_unless_the_server_allows_them(self) -> None:
        async with serving(ScriptedEngine()) as server:
            status, body = await server.chat(**with_image("https://example.com/a.png"))
        assert status == 400
        assert "fetches no URLs" in body["error"]["message"]

    @pytest.mark.parametrize(
        "url",
        [
            "http://127.0.0.1/a.png",
            "http://[::1]/a.png",
            "http://localhost/a.png",
            "http://169.254.169.254/latest/meta-data",
            "http://10.0.0.1/a.png",
            "http://[::ffff:10.0.0.1]/a.png",
            "http://2130706433/a.png",
            "http://192.0.0.192/a.png",
            "http://127.0.0.1:9777\\@1.1.1.1/a.png",
            "http://user@1.1.1.1/a.png",
            "ht\ntp://1.1.1.1/a.png",
            " http://1.1.1.1/a.png",
            "http://1.1.1.1/a b.png",
            "ftp://1.1.1.1/a.png",
            "http://",
            "http://[",
        ],
    )
    async def test_private_image_url_is_refused_when_urls_are_allowed(self, url: str) -> None:
        engine = ScriptedEngine()
        async with serving(engine, allow_image_urls=True) as server:
            status, _ = await server.chat(**with_image(url))
        assert status == 400
        assert engine.asked == []

    async def test_public_image_url_is_accepted_when_urls_are_allowed(self) -> None:
        async with serving(ScriptedEngine(), allow_image_urls=True) as server:
            assert (await server.chat(**with_image("http://1.1.1.1/a.png")))[0] == 200


class TestBody:
    async def test_body_that_is_too_large_is_refused(self) -> None:
        async with serving(ScriptedEngine(), max_body_bytes=1000) as server:
            status, body = await server.chat(messages=[{"role": "user", "content": "x" * 1000}])
        assert (status, body["error"]["type"]) == (413, "invalid_request_error")

    async def test_body_of_unknown_length_is_refused_as_soon_as_it_is_too_large(self) -> None:
        async def endless() -> Any:
            while True:
                yield b" " * 100
                await asyncio.sleep(0)

        async with serving(ScriptedEngine(), max_body_bytes=1000) as server:
            url, headers = f"{server.api}/chat/completions", {"Content-Type": "application/json"}
            async with server.session.post(url, data=endless(), headers=headers) as response:
                assert response.status == 413

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b"\xff", b'{"a": NaN}', b"[" * 100_000])
    def test_body_that_is_no_object_is_refused(self, body: bytes) -> None:
        with pytest.raises(ApiError) as refused:
            parsed_object(body)
        assert refused.value.status == 400

    def test_too_many_values_are_refused_before_they_are_parsed(self) -> None:
        for body in (b'{"a": [' + b"{}," * 30_000 + b"{}]}", b'{"a": [' + b"1," * 300_000 + b"1]}"):
            with pytest.raises(ApiError, match="more than"):
                parsed_object(body)

    @pytest.mark.parametrize("text", ["{[,", '"{', '\\"{', "\\{", '\\\\"{'])
    def test_text_may_contain_many_brackets(self, text: str) -> None:
        assert parsed_object(json.dumps({"a": text * 100_000}).encode())["a"] == text * 100_000

    @pytest.mark.parametrize("text", ["", "\\", '"', '\\"', '"\\'])
    def test_brackets_after_texts_are_counted(self, text: str) -> None:
        containers = ",".join([f'{{"a": {json.dumps(text)}}}'] * 20_001)
        with pytest.raises(ApiError, match="more than"):
            parsed_object(f'{{"a": [{containers}]}}'.encode())

    @pytest.mark.parametrize("part", [b'""{', rb"\",", rb"\\{", b"{,"])
    def test_work_for_a_large_body_does_not_depend_on_what_it_contains(self, part: bytes) -> None:
        with counted_calls() as calls, suppress(ApiError):
            parsed_object(b'{"a": "' + part * 1_000_000 + b'"}')
        assert calls.count < 50


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logit_bias", {str(token): 1 for token in range(1025)}),
        ("stop", [str(number) for number in range(65)]),
        ("chat_template_kwargs", {f"a{number}": 1 for number in range(65)}),
    ],
)
async def test_number_of_entries_of_a_setting_is_limited(name: str, value: Any) -> None:
    async with serving(ScriptedEngine()) as server:
        status, body = await server.chat(**{name: value})
    assert (status, body["error"]["param"]) == (400, name)
    assert "has more than" in body["error"]["message"]


class TestRemoteEngine:
    async def test_only_known_fields_are_passed_to_the_api_and_those_of_the_operator_stay(self) -> None:
        async with Recorder() as api:
            own = GenerationParams(extra_body={"provider": {"data_collection": "deny"}})
            engine = remote_engine(api.url, generation=own)
            async with serving(engine, passed_fields=frozenset({"custom"})) as server:
                fields = {"reasoning_effort": "low", "custom": 1, "provider": {}, "models": ["other"], "plugins": []}
                assert (await server.chat(**fields))[0] == 200
        [sent] = api.sent
        assert (sent.body["reasoning_effort"], sent.body["custom"]) == ("low", 1)
        assert sent.body["provider"] == {"data_collection": "deny"}
        assert not {"models", "plugins"} & sent.body.keys()

    async def test_model_of_the_request_is_asked_for_only_if_the_server_accepts_any(self) -> None:
        async with Recorder() as api:
            async with serving(remote_engine(api.url)) as server:
                assert (await server.chat(model="other"))[0] == 404
            async with serving(remote_engine(api.url), any_model=True) as server:
                assert (await server.chat(model="org/other"))[1]["model"] == "org/other"
                assert (await server.chat(model="../admin"))[0] == 404
        assert [sent.body["model"] for sent in api.sent] == ["org/other"]

    async def test_model_that_the_provider_does_not_have_is_not_found(self) -> None:
        async with Recorder() as api:
            api.answers({"error": {"message": "The model does not exist", "code": "model_not_found"}}, status=404)
            async with serving(remote_engine(api.url, max_retries=0), any_model=True) as server:
                status, body = await server.chat(model="other")
        assert (status, body["error"]["code"]) == (404, "model_not_found")

    async def test_problem_with_the_key_of_the_server_is_not_a_problem_of_the_client(self) -> None:
        async with Recorder() as api:
            api.answers({"error": {"message": "Incorrect API key provided: sk-secret"}}, status=401)
            async with serving(remote_engine(api.url, max_retries=0)) as server:
                status, body = await server.post({"messages": QUESTION})
        assert status in (502, 503)
        assert "sk-secret" not in json.dumps(body)


def test_fields_for_an_engine_that_passes_none_are_a_config_error() -> None:
    from asyncinfer.serve import create_app

    with pytest.raises(ConfigError, match="passes no fields"):
        create_app(ScriptedEngine(), ServerSettings(passed_fields=frozenset({"custom"})))
