"""The profile of the model, its name, and the signed thinking of its answers."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_ai import Agent, ModelRetry, NativeOutput, UnsupportedSettingWarning, capture_run_messages
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import (
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters, override_allow_model_requests
from pydantic_ai.profiles import ModelProfile

from asyncinfer import (
    DeepSeekInferenceEngine,
    GoogleGeminiInferenceEngine,
    LlamaCppInferenceEngine,
    ModelParams,
    OpenAIInferenceEngine,
    RemoteInferenceEngine,
    RemoteParams,
)
from asyncinfer.engines.registry import ENGINES
from asyncinfer.integrations.pydantic_ai import AsyncInferModel
from asyncinfer.providers.catalog import CATALOG
from tests.integrations.scripted_chat import ScriptedChat, text
from tests.recorder import MESSAGE, Recorder

THOUGHT = {"type": "thinking", "thinking": "They want the weather.", "signature": "sig-1"}
REDACTED = {"type": "redacted_thinking", "data": "opaque"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}}


def weather(city: str) -> str:
    """Report the weather."""
    return f"Sunny in {city}."


def message(*content: Any, reason: str = "end_turn") -> dict[str, Any]:
    return {**MESSAGE, "content": [*content], "stop_reason": reason}


def openai(model: str = "gpt-4.1", url: str = "http://localhost:1/v1") -> OpenAIInferenceEngine:
    return OpenAIInferenceEngine(ModelParams(model), remote_params=RemoteParams(url, api_key="k"))


class TestProfile:
    def test_profile_says_what_the_engine_supports(self) -> None:
        profile = AsyncInferModel(openai()).profile
        assert profile.get("supports_tools")
        assert profile.get("supports_json_schema_output")
        assert profile.get("default_structured_output_mode") == "tool"
        assert profile.get("supports_image_input")
        assert "application/pdf" in profile.get("supported_document_media_types", ())
        assert not profile.get("supports_audio_file_input", True)

    def test_api_without_schemas_has_no_native_output(self) -> None:
        engine = DeepSeekInferenceEngine(ModelParams("m"), remote_params=RemoteParams(api_key="k"))
        profile = AsyncInferModel(engine).profile
        assert not profile.get("supports_json_schema_output")
        assert "application/pdf" not in profile.get("supported_document_media_types", ())

    def test_model_in_this_process_follows_schemas_by_default(self) -> None:
        profile = AsyncInferModel(LlamaCppInferenceEngine(ModelParams("owner/model"))).profile
        assert profile.get("default_structured_output_mode") == "native"
        assert profile.get("supports_tools")

    def test_every_engine_has_a_profile(self) -> None:
        for name in CATALOG:
            engine = ENGINES[name].load()
            assert issubclass(engine, RemoteInferenceEngine)
            model = AsyncInferModel(engine(ModelParams("m"), remote_params=RemoteParams("http://localhost:1/v1")))
            assert model.profile.get("supports_tools"), name

    def test_profile_can_be_changed(self) -> None:
        model = AsyncInferModel(openai(), profile=ModelProfile(supports_image_input=False))
        assert not model.profile.get("supports_image_input", True)

    async def test_native_output_needs_a_schema_mode(self) -> None:
        model = AsyncInferModel(openai(), profile=ModelProfile(supports_json_schema_output=False))
        with pytest.raises(UserError, match="Native structured output is not supported"):
            await Agent(model, output_type=NativeOutput(dict[str, int])).run("?")

    @pytest.mark.parametrize(("name", "effort"), [("gpt-5.1", "high"), ("gpt-4.1", None)])
    async def test_thinking_is_set_for_models_that_think(self, name: str, effort: str | None) -> None:
        async with ScriptedChat() as chat, openai(name, chat.url) as engine:
            chat.script += [text("Hm.")]
            await Agent(AsyncInferModel(engine)).run("?", model_settings={"thinking": "high"})
        assert chat.bodies[0].get("reasoning_effort") == effort


class TestIdentity:
    def test_model_and_system_are_named_after_the_engine(self) -> None:
        model = AsyncInferModel(openai())
        assert (model.model_name, model.system, model.model_id) == ("gpt-4.1", "openai", "openai:gpt-4.1")

    def test_system_has_the_name_that_pydantic_ai_uses(self) -> None:
        engine = GoogleGeminiInferenceEngine(ModelParams("m"), remote_params=RemoteParams(api_key="k"))
        assert AsyncInferModel(engine).system == "google"

    def test_repr_shows_no_key(self) -> None:
        assert "sk-secret" not in repr(
            AsyncInferModel(OpenAIInferenceEngine(ModelParams("m"), remote_params=RemoteParams(api_key="sk-secret")))
        )

    async def test_forbidden_requests_are_not_sent(self) -> None:
        with override_allow_model_requests(False), pytest.raises(RuntimeError, match="ALLOW_MODEL_REQUESTS"):
            await Agent(AsyncInferModel(openai())).run("?")

    async def test_setting_that_the_engine_does_not_support_causes_a_warning(self) -> None:
        model = AsyncInferModel(LlamaCppInferenceEngine(ModelParams("owner/model")))
        with pytest.warns(UnsupportedSettingWarning, match="timeout"):
            model.prepare_request({"timeout": 3}, ModelRequestParameters())


class TestThinking:
    async def test_signed_thinking_goes_back_unchanged(self, api: Recorder, claude: AsyncInferModel) -> None:
        api.answers_in_turn(
            message(THOUGHT, REDACTED, USE, reason="tool_use"), message({"type": "text", "text": "Sunny."})
        )
        with capture_run_messages() as messages:
            await Agent(claude, tools=[weather]).run("Paris?")
        sent = api.sent[1].body["messages"][1]["content"]
        assert sent == [THOUGHT, REDACTED, USE]
        thought = messages[1].parts[0]
        assert isinstance(thought, ThinkingPart)
        assert (thought.content, thought.provider_name) == ("They want the weather.", "anthropic")

    async def test_signature_survives_storage(self, api: Recorder, claude: AsyncInferModel) -> None:
        api.answers(message(THOUGHT, {"type": "text", "text": "Sunny."}))
        agent = Agent(claude)
        stored = ModelMessagesTypeAdapter.dump_json((await agent.run("Paris?")).all_messages())
        await agent.run("Again?", message_history=ModelMessagesTypeAdapter.validate_json(stored))
        assert api.sent[1].body["messages"][1]["content"][0] == THOUGHT

    async def test_thinking_of_the_anthropic_model_of_pydantic_ai_goes_on(
        self, api: Recorder, claude: AsyncInferModel
    ) -> None:
        parts = [
            ThinkingPart("They want the weather.", signature="sig-1", provider_name="anthropic"),
            ThinkingPart("", id="redacted_thinking", signature="opaque", provider_name="anthropic"),
            TextPart("Sunny."),
        ]
        history = [ModelRequest.user_text_prompt("Paris?"), ModelResponse(parts, provider_name="anthropic")]
        api.answers(message({"type": "text", "text": "Yes."}))
        await Agent(claude).run("Sure?", message_history=history)
        assert api.sent[0].body["messages"][1]["content"] == [THOUGHT, REDACTED, {"type": "text", "text": "Sunny."}]

    async def test_signature_of_another_system_is_not_sent(self, api: Recorder, claude: AsyncInferModel) -> None:
        thought = ThinkingPart("Rain.", signature="other", provider_name="google")
        call = ToolCallPart(
            "weather", {}, "c1", provider_name="google", provider_details={"passthrough": {"extra_content": {}}}
        )
        history = [ModelRequest.user_text_prompt("?"), ModelResponse([thought, call], provider_name="google")]
        api.answers(message({"type": "text", "text": "Yes."}))
        await Agent(claude, tools=[weather]).run(message_history=history)
        assert "other" not in str(api.sent[0].body)
        assert "Rain." in str(api.sent[0].body["messages"][1])

    async def test_signed_call_of_gemini_goes_back_with_its_signature(self, api: Recorder) -> None:
        part = {"functionCall": {"name": "weather", "args": {"city": "Paris"}}, "thoughtSignature": "c2ln"}
        usage = {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7}

        def answer(*parts: Any) -> dict[str, Any]:
            content = {"role": "model", "parts": [*parts]}
            return {"candidates": [{"content": content, "finishReason": "STOP"}], "usageMetadata": usage}

        remote = RemoteParams(f"{api.url}beta", api_key="k")
        async with GoogleGeminiInferenceEngine(ModelParams("gemini-3-pro"), remote_params=remote) as engine:
            api.answers_in_turn(answer(part), answer({"text": "Sunny."}))
            # The seed needs Gemini's own API.
            await Agent(AsyncInferModel(engine), tools=[weather]).run("Paris?", model_settings={"seed": 1})
        [sent] = api.sent[1].body["contents"][1]["parts"]
        assert sent["thoughtSignature"] == "c2ln"

    async def test_thoughts_between_tags_become_thinking(self) -> None:
        async with ScriptedChat() as chat, openai(url=chat.url) as engine:
            chat.script += [text("<think>Hm.</think>Yes.")]
            result = await Agent(AsyncInferModel(engine)).run("?")
        assert result.output == "Yes."
        assert [type(part) for part in result.response.parts] == [ThinkingPart, TextPart]


class TestToolResults:
    async def test_failed_call_is_marked_for_an_api_with_such_a_mark(
        self, api: Recorder, claude: AsyncInferModel
    ) -> None:
        def broken(city: str) -> str:
            raise ModelRetry("Only Paris is known.")

        use = {**USE, "name": "broken"}
        api.answers_in_turn(message(use, reason="tool_use"), message({"type": "text", "text": "I see."}))
        await Agent(claude, tools=[broken]).run("Rome?")
        [result] = api.sent[1].body["messages"][-1]["content"]
        assert result["is_error"]
        assert "Only Paris is known." in result["content"]


class TestSystemPrompts:
    async def test_prompts_and_instructions_become_one_system_message(self) -> None:
        async with ScriptedChat() as chat, openai(url=chat.url) as engine:
            chat.script += [text("Yes.")]
            await Agent(AsyncInferModel(engine), system_prompt="You are kind.", instructions="Be brief.").run("?")
        assert chat.bodies[0]["messages"][0] == {"role": "system", "content": "You are kind.\n\nBe brief."}

    @pytest.mark.parametrize("is_inline", [True, False])
    async def test_later_system_prompt_stays_in_place(self, is_inline: bool) -> None:
        history = [ModelRequest.user_text_prompt("?"), ModelResponse([TextPart("Yes.")])]
        late = ModelRequest([SystemPromptPart("Answer in French."), UserPromptPart("Sure?")])
        kind = OpenAIInferenceEngine if is_inline else RemoteInferenceEngine
        async with (
            ScriptedChat() as chat,
            kind(ModelParams("gpt-4.1"), remote_params=RemoteParams(chat.url, api_key="k")) as engine,
        ):
            chat.script += [text("Oui.")]
            await Agent(AsyncInferModel(engine)).run(message_history=[*history, late])
        place = next(m for m in chat.bodies[0]["messages"][1:] if "French" in str(m))
        assert place["role"] == ("system" if is_inline else "user")
