"""No key appears in a signature, a default argument, a repr, a dump, or a local variable in a traceback."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import io
import json
import pickle
import pkgutil
import socket
from base64 import b64encode
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType, TracebackType
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from pydantic import BaseModel
from rich.console import Console
from rich.traceback import Traceback

import asyncinfer
from asyncinfer import (
    AnthropicInferenceEngine,
    BedrockInferenceEngine,
    ConfigError,
    EngineConfigError,
    GenerationParams,
    GoogleGeminiInferenceEngine,
    InferenceConfig,
    ModelParams,
    OpenAIInferenceEngine,
    RemoteInferenceEngine,
    RemoteParams,
    RequestError,
)
from asyncinfer.config.overrides import mask_arguments, parse_cli_overrides
from asyncinfer.config.variables import fill_in
from asyncinfer.providers import aws
from asyncinfer.providers.auth import Key
from asyncinfer.transport import proxies, request_head
from asyncinfer.transport.session import SessionTransport
from asyncinfer.types.http import HttpRequest, HttpResponse
from asyncinfer.types.masking import (
    MASK,
    MaskedBytes,
    MaskedStr,
    MaskedUrl,
    is_secret_name,
    mask_headers,
    mask_url,
    masked_if_secret,
    secrets_in_url,
)
from tests.fakes import question
from tests.faults import FaultServer, echo, status

CANARY = "c4nary-K3Y+with/odd=characters"
PARTS = (
    CANARY,
    quote(CANARY, safe=""),
    b64encode(CANARY.encode()).decode(),
    b64encode(f"ann:{CANARY}".encode()).decode(),
    CANARY[:12],
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("CANARY_TOKEN", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, CANARY)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SESSION_TOKEN", CANARY)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("no_proxy", "*")
    proxies.proxy_for.cache_clear()
    yield
    proxies.proxy_for.cache_clear()


def check(text: str) -> None:
    """Check that `text` contains no encoding of the key, not even its beginning."""
    for part in PARTS:
        assert part not in text, text[max(0, text.index(part) - 300) : text.index(part) + 40]


# Public objects


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(asyncinfer.__path__, "asyncinfer."):
        if found.name.endswith("__main__"):
            continue
        try:
            yield import_module(found.name)
        except ImportError:  # an optional package is not installed
            continue


def shown(value: Any, depth: int = 0) -> Iterator[str]:
    """The texts that `help`, `inspect` and debuggers show for an object and its members."""
    yield repr(value)
    if isinstance(value, functools.partial):
        yield from shown(value.func, depth)
    if isinstance(value, property):
        yield from (text for part in (value.fget, value.fset) if part is not None for text in shown(part, depth))
    if isinstance(value, classmethod | staticmethod):
        yield from shown(value.__func__, depth)
    if isinstance(value, FunctionType):
        yield repr((value.__defaults__, value.__kwdefaults__, value.__annotations__, value.__dict__))
        yield repr([cell.cell_contents for cell in value.__closure__ or () if cell_is_set(cell)])
        yield str(inspect.signature(value))
    if isinstance(value, type) and value.__module__.startswith("asyncinfer") and depth < 4:
        if issubclass(value, BaseModel):
            yield repr(value.model_fields)
        if dataclasses.is_dataclass(value):
            yield repr([field.default for field in dataclasses.fields(value)])
        for part in vars(value).values():
            yield from shown(part, depth + 1)


def cell_is_set(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def test_no_object_of_the_package_shows_the_environment() -> None:
    public = [getattr(asyncinfer, name) for name in asyncinfer.__all__]
    objects = [value for module in modules() for name, value in vars(module).items() if name != "__builtins__"]
    count = 0
    for value in (*public, *(value for value in objects if not isinstance(value, ModuleType))):
        for text in shown(value):
            count += 1
            check(text)
    assert count > 3000


def test_environment_variables_are_read_at_the_time_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATER", "value")
    assert fill_in({"a": "${LATER}"}) == ({"a": "value"}, {})
    assert Key("OPENAI_API_KEY").signer("X", RemoteParams()).secrets == (CANARY,)


# URLs, headers and settings


@pytest.mark.parametrize(
    "name",
    [
        *("key", "api_key", "api-key", "apiKey", "apikey", "x-api-key", "X-API-KEY", "subscription-key", "token"),
        *("access_token", "accessToken", "sig", "signature", "code", "client_secret", "password", "pwd", "auth", "jwt"),
        *("X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "Authorization", "Proxy-Authorization"),
        *("x-goog-api-key", "Cookie", "Set-Cookie", "api%5Fkey", "sas", "accesskey", "authtoken"),
        *("pass", "pw", "session_id", "user_session", "ticket", "client_assertion", "otp", "pat", "hf_token", "apiKey"),
        *("aws_secret_access_key", "secrets", "api_key_1"),
    ],
)
def test_name_of_a_secret_is_recognised(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "api-version",
            "version",
            "region",
            "model",
            "deployment",
            "max_tokens",
            "top_k",
            "language_code",
            "se",
            "sv",
        ),
        *("X-Amz-Date", "X-Amz-Expires", "Content-Type", "User-Agent", "anthropic-version", "alt", "beta", ""),
        *("monkey", "donkey", "turkey", "key_id", "token_limit", "pad_token", "stop_token_ids", "prompt_cache_key"),
        *("api_key_env_varname", "num_key_value_heads", "passes", "tickets_open"),
    ],
)
def test_other_name_is_not_a_secret(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://h/v1?api-version=2024-10-21", "https://h/v1?api-version=2024-10-21"),
        ("https://h/v1?key=abc&alt=sse", "https://h/v1?key=**********&alt=sse"),
        ("https://ann:pw@h:8000/v1", "https://**********@h:8000/v1"),
        ("https://t0ken@h/v1/@cf/meta?a=b@c", "https://**********@h/v1/@cf/meta?a=b@c"),
        ("https://ann:p@w@h/v1", "https://**********@h/v1"),
        ("ann:pw@h/v1", "**********@h/v1"),
        ("https://h/v1#access_token=abc", "https://h/v1#access_token=**********"),
        ("https://h/v1?X-Amz-Credential=a&X-Amz-Date=b&X-Amz-Signature=c", "https://h/v1?X-Amz-Credential=**********&X-Amz-Date=b&X-Amz-Signature=**********"),
        ("//ann:pw@h/v1", "//**********@h/v1"),
        ("https://h/v1?key", "https://h/v1?key"),
        ("http://[::1", "http://[::1"),
        ("", ""),
    ],
)  # fmt: skip
def test_secrets_in_a_url_are_masked(url: str, masked: str) -> None:
    assert mask_url(url) == masked
    assert mask_url(masked) == masked
    assert repr(masked_if_secret(url)) == repr(masked)
    assert masked_if_secret(url) == url


def test_every_encoding_of_a_secret_in_a_url_is_found() -> None:
    found = set(secrets_in_url("https://ann:p%40ss%2Fw@h/v1?key=a%2Bb&api-version=2024-10-21"))
    assert found >= {b64encode(b"ann:p@ss/w").decode(), "p%40ss%2Fw", "p@ss/w", "a%2Bb", "a+b", "a b"}
    assert not any("2024" in secret for secret in found)
    assert set(secrets_in_url("https://t0ken@h/v1")) >= {"t0ken"}
    assert list(secrets_in_url("http://[::1")) == []


def test_masked_values_are_used_as_plain_ones() -> None:
    text, data = MaskedStr(CANARY), MaskedBytes(CANARY.encode())
    assert (text, f"{text}", data, hash(text)) == (CANARY, CANARY, CANARY.encode(), hash(CANARY))
    assert (text[:4], data[:4], data[0]) == (CANARY[:4], CANARY[:4].encode(), ord(CANARY[0]))
    assert pickle.loads(pickle.dumps((text, data))) == (text, data)
    check(repr((text, data, text[:20], data[:20], {"a": text}, f"{text!r}")))


def test_requests_and_responses_show_no_keys() -> None:
    url = f"https://ann:{quote(CANARY, safe='')}@h/v1?key={quote(CANARY, safe='')}&api-version=1"
    request = HttpRequest(
        url, {"Authorization": f"Bearer {CANARY}", "x-api-key": CANARY, "User-Agent": "a"}, CANARY.encode()
    )
    assert repr(request).startswith(
        "HttpRequest(url='https://**********@h/v1?key=**********&api-version=1', headers={'Authorization'"
    )
    assert "'User-Agent': 'a'" in repr(request)
    response = HttpResponse(200, {"Set-Cookie": CANARY, "Server": "b"}, CANARY.encode())
    assert (
        repr(response)
        == f"HttpResponse(status=200, headers={{'Set-Cookie': '**********', 'Server': 'b'}}, body='<{len(CANARY)} bytes>', first_byte=None)"
    )
    check(repr((request, response, mask_headers(request.headers))))


URLS = [f"https://ann:{quote(CANARY, safe='')}@h/v1", f"https://h/v1?api-version=1&key={quote(CANARY, safe='')}"]


@pytest.mark.parametrize("url", URLS)
def test_parameters_show_no_credentials_of_the_url(url: str, tmp_path: Path) -> None:
    remote = RemoteParams(api_url=url, api_key=CANARY)
    config = InferenceConfig(remote_params=remote)
    config.to_yaml(tmp_path / "config.yaml")
    check(repr(remote) + str(remote) + repr(config) + remote.model_dump_json() + repr(remote.model_dump()))
    check(str(remote.model_dump(mode="json")) + (tmp_path / "config.yaml").read_text())
    assert f"api_url: {mask_url(url)}" in (tmp_path / "config.yaml").read_text()


def test_options_show_no_tokens(tmp_path: Path) -> None:
    model = ModelParams(
        model_name="m",
        model_kwargs={"token": CANARY, "quantization": {"api_key": CANARY}},
        tokenizer_kwargs={"pad_token": "<pad>"},
    )
    config = InferenceConfig(model=model)
    config.to_yaml(tmp_path / "config.yaml")
    check(repr(model) + repr(config) + (tmp_path / "config.yaml").read_text())
    assert "'pad_token': '<pad>'" in repr(model)
    assert model.model_kwargs["token"] == CANARY


EXTRA_BODY: dict[str, Any] = {
    "headers": {"Authorization": CANARY, "X-Other": f"Bearer {CANARY[:12]}", "Accept": "text/plain"},
    "aws_secret_access_key": CANARY,
    "api-key": CANARY,
    "password": 123456789,
    "authentication": {"type": "api_key", "key": CANARY, "extra": [CANARY]},
    "tools": [
        {"server_url": f"https://ann:{quote(CANARY, safe='')}@mcp", "authorization": CANARY},
        {"headers": [{"name": "Authorization", "value": CANARY}]},
    ],
    "prompt_cache_key": "chat-1",
    "schema": {"properties": {"password": {"type": "string"}}, "required": ["password"]},
}


def config_with_secrets() -> InferenceConfig:
    url = f"https://ann:{quote(CANARY, safe='')}@h/m"
    kwargs = {"storage_options": {"secret_key": CANARY}, "hf_token": CANARY, "apiKey": CANARY}
    return InferenceConfig(
        model=ModelParams(model_name=url, model_kwargs=kwargs), generation=GenerationParams(extra_body=EXTRA_BODY)
    )


def test_nested_options_show_no_secrets(tmp_path: Path) -> None:
    config = config_with_secrets()
    config.to_yaml(tmp_path / "config.yaml")
    shown = (repr(config), str(config), config.model_dump_json(), str(config.model_dump(mode="json")))
    for text in (*shown, config.generation.model_dump_json(), (tmp_path / "config.yaml").read_text()):
        check(text)
        assert CANARY[:12] not in text
        assert "123456789" not in text
        assert "chat-1" in text or "extra_body" not in text
    body = config.model_dump(mode="json")["generation"]["extra_body"]
    assert body["schema"] == EXTRA_BODY["schema"]
    assert body["headers"] == {"Authorization": MASK, "X-Other": MASK, "Accept": "text/plain"}
    assert body["authentication"] == {"type": "api_key", "key": MASK, "extra": [MASK]}


def test_copies_of_a_configuration_keep_its_secrets() -> None:
    config = config_with_secrets()
    dumped = InferenceConfig(**config.model_dump())
    for copy in (pickle.loads(pickle.dumps(config)), config.model_copy(deep=True), dumped):
        assert copy.generation.extra_body == EXTRA_BODY
        assert copy.model == config.model


def test_masked_options_of_a_saved_configuration_are_refused(tmp_path: Path) -> None:
    config_with_secrets().to_yaml(tmp_path / "config.yaml")
    with pytest.raises(ConfigError) as caught:
        InferenceConfig.from_yaml(tmp_path / "config.yaml")
    for place in ("model.model_name", "generation.extra_body.headers.Authorization", "extra_body.tools[0].server_url"):
        assert f"{place}: is masked" in str(caught.value)
    assert "schema" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "hidden"), [("abcd", True), ("pw12345", True), ("EMPTY", False), ("none", False), ("abc", False)]
)
async def test_short_key_is_hidden_unless_it_is_a_placeholder(key: str, hidden: bool) -> None:
    async with FaultServer(lambda _: status(400, f"no such key {key}")) as server:
        remote = RemoteParams(api_url=server.url, api_key=key)
        error = await error_of(RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote))
    assert (key not in str(error)) is hidden


def test_command_line_is_shown_without_credentials() -> None:
    url = f"https://ann:{quote(CANARY, safe='')}@h/v1?key={quote(CANARY, safe='')}&api-version=1"
    check(
        shown_line := " ".join(
            mask_arguments([f"--remote_params.api_url={url}", "--remote_params.api_url", url, "--a=b@c"])
        )
    )
    assert shown_line.endswith("https://**********@h/v1?key=**********&api-version=1 --a=b@c")
    with pytest.raises(ConfigError) as caught:
        parse_cli_overrides(["--a", "1", url])
    check(str(caught.value))


@pytest.mark.parametrize("joint", ["=", " "])
def test_secrets_in_a_group_of_settings_on_the_command_line_are_hidden(joint: str) -> None:
    endpoint = {
        "api_url": f"https://ann:{quote(CANARY, safe='')}@h/v1",
        "api_key": CANARY,
        "headers": {"X-Team": CANARY},
        "weight": 2,
    }
    arguments = f"--remote_params.endpoints{joint}{json.dumps([endpoint])}".split(" ", 1 if joint == " " else 0)
    shown_line = " ".join(mask_arguments(arguments))
    check(shown_line)
    assert '"weight": 2' in shown_line
    assert mask_arguments(["--a", "[1, {b: c}]"]) == ["--a", "[1, {b: c}]"]


@pytest.mark.parametrize("url", [*URLS, "https://h/v1?api-version=1", None])
def test_parameters_keep_their_url(url: str | None) -> None:
    remote = RemoteParams(api_url=url)
    for copy in (pickle.loads(pickle.dumps(remote)), remote.model_copy(deep=True), RemoteParams(**remote.model_dump())):
        assert copy.api_url == url
        assert type(copy.api_url) is type(remote.api_url)
    remote.api_url = "http://other/v1"
    assert remote.api_url == "http://other/v1"


@pytest.mark.parametrize("url", URLS)
def test_url_of_a_saved_configuration_says_that_its_credentials_are_missing(url: str, tmp_path: Path) -> None:
    InferenceConfig(remote_params=RemoteParams(api_url=url)).to_yaml(tmp_path / "config.yaml")
    loaded = InferenceConfig.from_yaml(tmp_path / "config.yaml")
    engine = RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=loaded.remote_params)
    with pytest.raises(ConfigError, match=r"remote_params\.api_url: its credentials are masked"):
        engine.infer([question("a")])
    engine.close()


# Tracebacks


def locals_shown(error: BaseException, *, by_rich: bool = True) -> str:
    """The reprs of the locals in an error's frames, plain and as rich shows them."""
    texts: list[str] = []
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = ours(one.__traceback__)
        waiting += [one.__cause__, one.__context__]
        for frame, _ in walk(one.__traceback__):
            texts += [
                f"{frame.f_code.co_qualname}: {name} = {safe_repr(value)}" for name, value in frame.f_locals.items()
            ]
    for length in (None, 80) if by_rich else ():
        console = Console(file=io.StringIO(), width=10_000)
        trace = Traceback.from_exception(
            type(error), error, error.__traceback__, show_locals=True, locals_max_string=length, locals_max_length=100
        )
        console.print(trace)
        texts.append(console.file.getvalue())
    return "\n".join([repr(error), str(error), *texts])


def walk(trace: TracebackType | None) -> Iterator[tuple[Any, int]]:
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def ours(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame of the package on. The tests' own frames hold the key."""
    while trace is not None and "/asyncinfer/" not in trace.tb_frame.f_code.co_filename:
        trace = trace.tb_next
    return trace


def safe_repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:
        return repr(error)


def openai_like(url: str) -> Any:
    return RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=RemoteParams(api_url=url, api_key=CANARY))


def key_in_the_url(url: str) -> Any:
    remote = RemoteParams(api_url=f"{url}/chat/completions?api-version=1&subscription-key={quote(CANARY, safe='')}")
    return RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote)


def user_in_the_url(url: str) -> Any:
    remote = RemoteParams(api_url=url.replace("//", f"//ann:{quote(CANARY, safe='')}@"))
    return RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote)


def header_of_the_user(url: str) -> Any:
    headers = {"X-Gateway": CANARY, "X-Team": f"Bearer {CANARY}", "Authorization": f"Basic {PARTS[3]}"}
    remote = RemoteParams(api_url=url, headers=headers)
    return RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote)


def of(kind: Any) -> Callable[[str], Any]:
    return lambda url: kind(ModelParams(model_name="m"), remote_params=RemoteParams(api_url=url))


def native_gemini(url: str) -> Any:
    engine = of(GoogleGeminiInferenceEngine)(f"{url}beta/openai/chat/completions")
    engine._generation_params = engine._generation_params.model_copy(update={"seed": 1})
    return engine


def bedrock(url: str) -> Any:
    return of(BedrockInferenceEngine)(url)


ENGINES: dict[str, Callable[[str], Any]] = {
    "OpenAI-like": openai_like,
    "OpenAI": of(OpenAIInferenceEngine),
    "Anthropic": of(AnthropicInferenceEngine),
    "Gemini": lambda url: of(GoogleGeminiInferenceEngine)(f"{url}beta/openai/chat/completions"),
    "Gemini's own API": native_gemini,
    "Azure-like, key in the URL": key_in_the_url,
    "user in the URL": user_in_the_url,
    "headers of the user": header_of_the_user,
    "Bedrock": bedrock,
}


class BugError(Exception):
    """An unexpected error."""


def bug(*_: object, **__: object) -> Any:
    raise BugError


# The functions that are replaced by one that raises an unexpected error.
PLACES: dict[str, tuple[Any, str]] = {
    "connecting": (aiohttp.TCPConnector, "_create_connection"),
    "writing": (request_head, "write_start"),
    "reading": (__import__("aiohttp.client_proto").client_proto.ResponseHandler, "read"),
    "decoding": (__import__("asyncinfer.engines.refusal").engines.refusal, "status_error"),
}


async def error_of(engine: Any) -> BaseException:
    """The error that a stream raises. No run converts it."""
    async with engine:
        try:
            access = await engine.access()
            await anext(aiter(access.engine.stream(question("a"))))
        except BaseException as error:
            return error
    raise AssertionError("no error")


async def error_of_a_call(engine: Any) -> BaseException:
    """The error that an engine raises for a row, before a run converts it to a failure."""
    async with engine:
        try:
            access = await engine.access()
            await access.engine.generate(question("a"))
        except BaseException as error:
            return error
    raise AssertionError("no error")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize(("owner", "name"), PLACES.values(), ids=PLACES)
async def test_error_deep_inside_a_send_shows_no_key(
    engine: Callable[[str], Any], owner: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    async with FaultServer(lambda _: echo(400)) as server:
        monkeypatch.setattr(owner, name, bug)
        for error in (await error_of(engine(server.url)), await error_of_a_call(engine(server.url))):
            assert type(error) is BugError
            check(locals_shown(error, by_rich=name == "read"))


SESSION_PLACES: dict[str, tuple[Any, str]] = {
    "connecting": PLACES["connecting"],
    "sending": (aiohttp.ClientRequest, "send"),
    "reading": PLACES["reading"],
    "decoding": PLACES["decoding"],
}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize(("owner", "name"), SESSION_PLACES.values(), ids=SESSION_PLACES)
async def test_error_deep_inside_a_session_shows_no_key(
    engine: Callable[[str], Any], owner: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    async with FaultServer(lambda _: echo(400)) as server, aiohttp.ClientSession() as session:
        monkeypatch.setattr(owner, name, bug)
        for find_error in (error_of, error_of_a_call):
            asked = engine(server.url)
            asked._transport = SessionTransport(session)
            error = await find_error(asked)
            assert type(error) is BugError
            check(locals_shown(error, by_rich=False))


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("fault", ["echo", "error", "refused", "broken"])
async def test_error_of_a_request_shows_no_key(
    engine: Callable[[str], Any], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    faults = {"echo": echo(400), "error": status(500, f"who is {CANARY}?"), "broken": echo(200)}
    async with FaultServer(lambda _: faults[fault]) as server:
        url = server.url if fault != "refused" else f"http://127.0.0.1:{free_port()}/v1"
        error = await error_of(engine(url))
    assert isinstance(error, RequestError)
    check(locals_shown(error, by_rich=fault == "echo"))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("place", ["connecting", "reading"])
async def test_error_behind_a_proxy_shows_no_password(scheme: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with FaultServer() as server:
        monkeypatch.delenv("no_proxy")
        monkeypatch.setenv(f"{scheme}_proxy", f"http://ann:{quote(CANARY, safe='')}@127.0.0.1:{server.port}")
        proxies.proxy_for.cache_clear()
        monkeypatch.setattr(
            *PLACES[place] if place == "reading" else (aiohttp.TCPConnector, "_create_direct_connection"),
            bug,
        )
        engine = RemoteInferenceEngine(
            ModelParams(model_name="m"), remote_params=RemoteParams(api_url=f"{scheme}://api.invalid/v1")
        )
        error = await error_of(engine)
    assert isinstance(error, BugError | RequestError)
    check(locals_shown(error))


async def test_header_that_cannot_be_sent_shows_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{CANARY}\n{CANARY}")
    async with FaultServer() as server:
        error = await error_of(of(OpenAIInferenceEngine)(server.url))
    assert "line break" in str(error)
    check(locals_shown(error))


async def test_missing_key_shows_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    error = await error_of(of(OpenAIInferenceEngine)("http://127.0.0.1:1/v1"))
    assert isinstance(error, ConfigError)
    check(locals_shown(error))


async def test_missing_region_shows_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "_credential_chain", functools.lru_cache(lambda _: aws.CredentialChain()))
    error = await error_of(bedrock("http://127.0.0.1:1/v1"))
    assert isinstance(error, EngineConfigError)
    assert "region" in str(error)
    check(locals_shown(error))


async def test_wrong_url_shows_no_credentials() -> None:
    for url in (f"htp://ann:{CANARY[:12]}@h/v1", f"http://ann:{quote(CANARY, safe='')}@h:99999/v1"):
        remote = RemoteParams(api_url=url)
        error = await error_of(RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote))
        assert isinstance(error, ConfigError)
        check(locals_shown(error))


def test_wrong_setting_shows_no_key() -> None:
    with pytest.raises(ConfigError) as caught:
        RemoteParams(api_key=CANARY, api_url=URLS[0], num_workers=0)
    check(locals_shown(caught.value))
    with pytest.raises(ConfigError) as caught:
        RemoteParams(headers={"X-Team": f"{CANARY}\n{CANARY}"})
    check(locals_shown(caught.value))


@pytest.mark.parametrize(
    "text",
    [
        "remote_params: {api_key: '${CANARY_TOKEN}', num_workers: 0}",
        f"remote_params: {{api_key: '{CANARY}', num_workers: 0}}",
        f"remote_params: {{api_key: '{CANARY}'\nnum: [",
        f"remote_params: {{headers: {{X-Team: ['{CANARY}']}}}}",
        f"remote_params: {{headers: {{X-Team: '{CANARY}'}}, num_workers: 0}}",
        f"remote_params: {{api_key: '{CANARY}'}}\nremote_params: 1",
        "remote_params: {api_key: '${CANARY_TOKEN}', user_id: '${NOT_SET}'}",
    ],
)
def test_wrong_configuration_shows_no_key(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    for load in (lambda: InferenceConfig.from_yaml(tmp_path / "config.yaml"), lambda: InferenceConfig.from_str(text)):
        with pytest.raises(ConfigError) as caught:
            load()
        check(locals_shown(caught.value))


def test_masked_url_is_what_a_masked_url_type_shows() -> None:
    url = MaskedUrl(URLS[0])
    check(repr(url) + repr(url[:40]) + repr((url,)))
