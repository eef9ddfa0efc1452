"""The URLs that users give for an API."""

from __future__ import annotations

import pytest

from asyncinfer.providers.base_url import ApiPaths, ChatUrl, chat_url, likely_url
from asyncinfer.providers.catalog import CATALOG

OPENAI = ApiPaths("/chat/completions")
END = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("given", "completed"),
    [
        ("http://h", f"http://h{END}"),
        ("http://h/", f"http://h{END}"),
        ("http://h:8000", f"http://h:8000{END}"),
        ("http://h/v1", f"http://h{END}"),
        ("http://h/v1/", f"http://h{END}"),
        ("http://h/v1//", f"http://h{END}"),
        (" http://h/v1\n", f"http://h{END}"),
        ("http://h/v1#x", f"http://h{END}"),
        ("http://h/v2", "http://h/v2/chat/completions"),
        ("http://h/V1", "http://h/V1/chat/completions"),
        ("http://h/v1beta1", "http://h/v1beta1/chat/completions"),
        ("http://h/api/v3/", "http://h/api/v3/chat/completions"),
        ("http://h/api/paas/v4", "http://h/api/paas/v4/chat/completions"),
        ("http://h/openai/v1", "http://h/openai/v1/chat/completions"),
        ("http://h/v1beta/openai/", "http://h/v1beta/openai/chat/completions"),
        ("http://h/endpoints/openapi", "http://h/endpoints/openapi/chat/completions"),
        (
            "https://h/openai/deployments/d?api-version=1",
            "https://h/openai/deployments/d/chat/completions?api-version=1",
        ),
        ("http://h/v1?x=1", f"http://h{END}?x=1"),
        ("http://h?x=1", f"http://h{END}?x=1"),
        ("http://h/v1/chat/completions", f"http://h{END}"),
        ("http://h/v1/chat/completions?x=1", f"http://h{END}?x=1"),
        ("http://[::1]:8000", f"http://[::1]:8000{END}"),
        ("http://h/my/endpoint", "http://h/my/endpoint"),
        ("http://h/vision", "http://h/vision"),
    ],
)
def test_url_is_completed(given: str, completed: str) -> None:
    assert chat_url(given, OPENAI) == ChatUrl(completed)


@pytest.mark.parametrize(
    ("given", "completed"),
    [
        ("localhost:8000", f"http://localhost:8000{END}"),
        ("localhost:8000/v1/", f"http://localhost:8000{END}"),
        ("127.0.0.1:8000/v1", f"http://127.0.0.1:8000{END}"),
        ("10.0.0.1", f"http://10.0.0.1{END}"),
        ("[::1]:8000", f"http://[::1]:8000{END}"),
        ("8.8.8.8/v1", f"https://8.8.8.8{END}"),
        ("[2606:4700::1111]/v1", f"https://[2606:4700::1111]{END}"),
        ("[::1]:8000/v1", f"http://[::1]:8000{END}"),
        ("gpu-1/v1", f"http://gpu-1{END}"),
        ("gpu-1.internal", f"http://gpu-1.internal{END}"),
        ("//gpu-1/v1", f"http://gpu-1{END}"),
        ("api.example.com", f"https://api.example.com{END}"),
        ("api.example.com:8443/v1", f"https://api.example.com:8443{END}"),
    ],
)
def test_missing_scheme_is_assumed_and_reported(given: str, completed: str) -> None:
    """A key never goes to a public host without encryption."""
    assert chat_url(given, OPENAI) == ChatUrl(completed, f"{given} has no scheme; requests go to {completed}")


def test_report_shows_no_credentials() -> None:
    found = chat_url("ann:pass-word@api.example.com/v1?api-key=pass-word", OPENAI)
    assert found is not None
    assert str(found.url) == "https://ann:pass-word@api.example.com/v1/chat/completions?api-key=pass-word"
    assert "pass-word" not in repr(found)


@pytest.mark.parametrize(
    ("given", "completed"),
    [
        ("http://h", "http://h/v1/responses"),
        ("http://h/v1/", "http://h/v1/responses"),
        ("http://h/v1/responses?x=1", "http://h/v1/responses?x=1"),
        ("http://h/v1/chat/completions", "http://h/v1/responses"),
        ("http://h/v1/chat/completions/?x=1", "http://h/v1/responses?x=1"),
        ("http://h/my/endpoint", "http://h/my/endpoint"),
    ],
)
def test_path_of_the_other_api_is_replaced(given: str, completed: str) -> None:
    responses = ApiPaths("/responses", other="/chat/completions")
    assert chat_url(given, responses) == ChatUrl(completed)


@pytest.mark.parametrize(
    "given", ["", "/v1", "ftp://h/v1", "h:abc", "http://", "http://h:99999", "http://h:0", "http://[::1"]
)
def test_invalid_url_is_recognised(given: str) -> None:
    assert chat_url(given, OPENAI) is None


@pytest.mark.parametrize(
    ("provider", "given", "completed"),
    [
        ("OPENROUTER", "https://openrouter.ai", "https://openrouter.ai/api/v1/chat/completions"),
        ("OPENROUTER", "https://openrouter.ai/api", "https://openrouter.ai/api/v1/chat/completions"),
        ("FIREWORKS", "https://api.fireworks.ai/inference", "https://api.fireworks.ai/inference/v1/chat/completions"),
        ("ANTHROPIC", "https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
        ("GEMINI", "https://g.example.com/v1beta", "https://g.example.com/v1beta/openai/chat/completions"),
        ("DEEPSEEK", "https://api.deepseek.com/beta", "https://api.deepseek.com/beta/chat/completions"),
        ("BEDROCK", "https://bedrock.example.com", "https://bedrock.example.com"),
        ("AZURE_OPENAI", "https://r.openai.azure.com", f"https://r.openai.azure.com/openai{END}"),
        ("AZURE_OPENAI", "https://r.openai.azure.com/openai/", f"https://r.openai.azure.com/openai{END}"),
        ("AZURE_OPENAI", "https://r.openai.azure.com/openai/v1/", f"https://r.openai.azure.com/openai{END}"),
        (
            "AZURE_OPENAI",
            "https://r.openai.azure.com/openai/deployments/gpt?api-version=2024-10-21",
            "https://r.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
        ),
        ("GROQ", "https://api.groq.com", f"https://api.groq.com/openai{END}"),
        ("OLLAMA", "gpu:11434", f"http://gpu:11434{END}"),
        ("SGLANG", "http://h:6864/generate", f"http://h:6864{END}"),
        ("SGLANG", "http://h:6864/generate/", f"http://h:6864{END}"),
        ("SGLANG", "http://h/llm/generate", f"http://h/llm{END}"),
        ("SGLANG", "http://h/v1/generate", f"http://h{END}"),
        ("REMOTE", "http://h/generate", "http://h/generate"),
    ],
)
def test_url_is_completed_as_the_provider_has_it(provider: str, given: str, completed: str) -> None:
    found = chat_url(given, CATALOG[provider].paths())
    assert found is not None
    assert found.url == completed


@pytest.mark.parametrize("name", CATALOG)
def test_own_url_of_a_provider_is_complete(name: str) -> None:
    provider = CATALOG[name]
    given = {"PROJECT_ID": "p", "REGION": "r", "AWS_REGION": "r", "AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com"}
    if (url := provider.resolve_url(provider.url, given=given)) is not None:
        assert chat_url(url, provider.paths()) == ChatUrl(url)


@pytest.mark.parametrize(
    ("wrong", "likely"),
    [
        ("/chat/completions", END),
        ("/v1/v1/chat/completions", END),
        ("//v1/chat/completions", END),
        ("/v1/chat/completions/", END),
        ("/v1/chat/completions/chat/completions", END),
        ("/v1/chat", END),
        ("/v1/completions", END),
        ("/v1/messages", END),
        ("/api/v1/models", f"/api{END}"),
        ("/v1beta/openai/models", "/v1beta/openai/chat/completions"),
        ("/generate", END),
        ("/llm", f"/llm{END}"),
        ("/llm/chat/completions", f"/llm{END}"),
        ("", END),
        ("/v1/chat/completions", None),
        ("/api/v3/chat/completions", None),
    ],
)
def test_likely_url_is_derived_from_a_wrong_one(wrong: str, likely: str | None) -> None:
    expected = f"http://h:8000{likely}" if likely is not None else None
    assert likely_url(f"http://ann:pw@h:8000{wrong}?key=pw", OPENAI) == expected
