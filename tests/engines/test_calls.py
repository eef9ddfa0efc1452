"""The functions of Oumi: `infer`, `infer_interactive`, `get_engine` and `build_inference_engine`."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from typing import Any

import pytest

import asyncinfer
from asyncinfer import (
    ConfigError,
    GenerationParams,
    InferenceConfig,
    InferenceEngineType,
    InferenceFailedError,
    InputError,
    ModelParams,
    OpenAIInferenceEngine,
    RemoteInferenceEngine,
    RemoteParams,
    ainfer,
    build_engine,
    build_inference_engine,
    get_engine,
    infer,
    infer_interactive,
)
from asyncinfer.engines import registry
from tests.fakes import FakeEngine, question, write_jsonl
from tests.recorder import Recorder

# The arguments of Oumi's functions (August 2026).
ARGUMENTS = {
    "infer": "config inputs inference_engine input_image_bytes system_prompt",
    "ainfer": "config inputs inference_engine input_image_bytes system_prompt",
    "infer_interactive": "config input_image_bytes system_prompt console",
    "get_engine": "config",
    "build_inference_engine": "engine_type model_params remote_params generation_params",
}
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_are_those_of_oumi(name: str) -> None:
    assert list(inspect.signature(getattr(asyncinfer, name)).parameters) == ARGUMENTS[name].split()


@pytest.fixture
async def api() -> AsyncIterator[Recorder]:
    async with Recorder() as api:
        yield api


def config(api: Recorder, **more: Any) -> InferenceConfig:
    return InferenceConfig(ModelParams("m"), engine="REMOTE", remote_params=RemoteParams(api.url), **more)


class TestInfer:
    async def test_each_text_is_a_conversation(self, api: Recorder) -> None:
        answered = await ainfer(config(api), ["One?", "Two?"], system_prompt="Be brief.")
        assert [c.messages[-1].content for c in answered] == ["Hello."] * 2
        assert sorted(sent.body["messages"][1]["content"] for sent in api.sent) == ["One?", "Two?"]
        assert api.sent[0].body["messages"][0] == {"role": "system", "content": "Be brief."}

    async def test_images_come_before_the_text(self, api: Recorder) -> None:
        await ainfer(config(api), ["What?"], input_image_bytes=[PNG])
        [image, text] = api.sent[0].body["messages"][0]["content"]
        assert (image["type"], text) == ("image_url", {"type": "text", "text": "What?"})

    @pytest.mark.parametrize("inputs", [None, []])
    async def test_without_texts_the_file_is_answered(self, api: Recorder, inputs: Any, tmp_path: Any) -> None:
        path = write_jsonl(tmp_path / "in.jsonl", [question("One?")])
        [answered] = await ainfer(config(api, input_path=str(path)), inputs)
        assert answered.messages[-1].content == "Hello."

    async def test_given_engine_stays_open(self) -> None:
        engine = FakeEngine()
        [answered] = await ainfer(InferenceConfig(), ["One?"], engine)
        assert answered.messages[-1].content == "answer to One?"
        [answered] = await engine.ainfer([question("Two?")])

    async def test_own_engine_is_closed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        closed: list[object] = []

        class Engine(FakeEngine):
            async def aclose(self) -> None:
                closed.append(self)

        monkeypatch.setattr(registry, "engine_class", lambda _: lambda *_, **__: Engine())
        await ainfer(InferenceConfig(engine="OPENAI"), ["One?"])
        assert len(closed) == 1

    async def test_nothing_to_answer_is_an_error(self, api: Recorder) -> None:
        with pytest.raises(ConfigError, match="nothing to run"):
            await ainfer(config(api))

    @pytest.mark.parametrize("inputs", ["One?", [1]])
    async def test_other_input_is_refused(self, api: Recorder, inputs: Any) -> None:
        with pytest.raises(InputError, match="inputs is a list of texts"):
            await ainfer(config(api), inputs)

    def test_blocking_twin_works_without_a_loop(self) -> None:
        [answered] = infer(InferenceConfig(), inputs=["One?"], inference_engine=FakeEngine())
        assert answered.messages[-1].content == "answer to One?"


class TestInteractive:
    @pytest.fixture(autouse=True)
    def texts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        texts = iter(["One?", "Two?"])

        def read(prompt: str) -> str:
            assert prompt == "Enter your input prompt: "
            try:
                return next(texts)
            except StopIteration:
                raise EOFError from None

        monkeypatch.setattr("builtins.input", read)

    def test_answers_are_printed_until_the_input_ends(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(registry, "engine_class", lambda _: lambda *_, **__: FakeEngine())
        infer_interactive(InferenceConfig(engine="OPENAI"), system_prompt="Be brief.")
        assert capsys.readouterr().out == (
            "------------\nSYSTEM: Be brief.\nUSER: One?\nASSISTANT: answer to One?\n------------\n\n"
            "------------\nSYSTEM: Be brief.\nUSER: Two?\nASSISTANT: answer to Two?\n------------\n\n"
            "\nExiting...\n"
        )

    def test_failed_question_does_not_end_the_session(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        asked: list[str] = []

        def fail(config: InferenceConfig, inputs: list[str], **_: Any) -> Any:
            asked.extend(inputs)
            raise InferenceFailedError("1 of 1 rows failed", asyncinfer.InferenceResult([], {}))

        monkeypatch.setattr(registry, "engine_class", lambda _: lambda *_, **__: FakeEngine())
        monkeypatch.setattr("asyncinfer.engines.calls.infer", fail)
        infer_interactive(InferenceConfig(engine="OPENAI"))
        assert asked == ["One?", "Two?"]
        assert capsys.readouterr().out.count("1 of 1 rows failed") == 2

    def test_console_shows_that_the_model_is_working(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shown: list[str] = []

        class Console:
            @contextmanager
            def status(self, text: str, **_: Any) -> Generator[None]:
                shown.append(text)
                yield

        monkeypatch.setattr(registry, "engine_class", lambda _: lambda *_, **__: FakeEngine())
        infer_interactive(InferenceConfig(engine="OPENAI"), console=Console())  # type: ignore[arg-type]
        assert len(shown) == 2


class TestBuilding:
    def test_engine_is_built_by_its_name(self) -> None:
        generation = GenerationParams(8)
        for name in (InferenceEngineType.OPENAI, "openai"):
            engine = build_inference_engine(name, ModelParams("m"), RemoteParams("http://localhost/v1"), generation)
            assert isinstance(engine, OpenAIInferenceEngine)
            assert engine._generation_params == generation
        assert isinstance(build_inference_engine("REMOTE", model_params=ModelParams("m")), RemoteInferenceEngine)

    def test_unknown_engine_is_a_config_error(self) -> None:
        with pytest.raises(ConfigError, match="engine: should be one of"):
            build_inference_engine("OPNAI", ModelParams("m"))

    def test_get_engine_builds_what_the_config_names(self) -> None:
        config = InferenceConfig(ModelParams("m"), engine="OPENAI", generation=GenerationParams(8))
        engine = get_engine(config)
        assert (type(engine), engine._generation_params.max_new_tokens) == (OpenAIInferenceEngine, 8)

    def test_no_engine_means_native(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        asked: list[str] = []

        def found(name: str) -> Any:
            asked.append(name)
            return lambda *_, **__: FakeEngine()

        monkeypatch.setattr(registry, "engine_class", found)
        assert isinstance(build_engine(InferenceConfig()), FakeEngine)
        assert asked == [InferenceEngineType.NATIVE]
        assert "engine: not set, so NATIVE" in caplog.text
