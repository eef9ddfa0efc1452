"""The scope of errors of each provider. The bodies are from their documentation and from reports of users."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from asyncinfer import RequestError
from asyncinfer.dialects.anthropic import messages as anthropic_messages
from asyncinfer.dialects.bedrock.stream import ConverseStreamDecoder
from asyncinfer.dialects.google import response as gemini_response
from asyncinfer.dialects.http import status_error
from asyncinfer.dialects.openai import response as openai_response
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.errors import ErrorScope, invalid_request
from asyncinfer.types.http import HttpResponse
from tests.dialects.frames import exception

ROW, ACCOUNT, UNKNOWN = ErrorScope.ROW, ErrorScope.ACCOUNT, ErrorScope.UNKNOWN


def refused(status: int, body: Any = b"", **headers: str) -> RequestError:
    """The error for a refusal. Underscores in names of headers stand for hyphens."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return status_error(
        HttpResponse(status, CIMultiDict({name.replace("_", "-"): text for name, text in headers.items()}), raw)
    )


def openai(message: str, code: Any = None, kind: Any = None, *, where: str | None = None, **more: Any) -> Any:
    return {"error": {"message": message, "type": kind, "param": where, "code": code, **more}}


def anthropic(kind: str, message: str, **details: Any) -> Any:
    return {"type": "error", "error": {"type": kind, "message": message, "details": details or None}}


def google(code: int, message: str, status: str, reason: str | None = None) -> Any:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}
    return {"error": {"code": code, "message": message, "status": status, "details": [info] if reason else []}}


XAI_403 = "The caller does not have permission to execute the specified operation"
FLAGGED = {"reasons": ["violence"], "flagged_input": "how to ...", "provider_name": "X", "model_slug": "x"}
ROW_ERRORS: dict[str, tuple[int, Any]] = {
    # Moderation
    "xAI": (403, {"code": "permission-denied", "error": "Content violates usage guidelines. "}),
    "xAI 2025": (403, {"code": XAI_403, "error": "Content violates usage guidelines. Team: t, API key ID: k, Model: grok-4, Failed check: SAFETY_CHECK_TYPE_BIO"}),
    "OpenRouter": (403, openai("Your input was refused", 403, metadata=FLAGGED)),
    "OpenRouter's words": (403, openai('x/y requires moderation on Z. Your input was flagged for "violence".', 403)),
    "OpenRouter, an image": (404, openai("No endpoints found that support image input", 404)),
    "OpenRouter, tools": (404, openai("No endpoints found that support tool use. To learn more ...", 404)),
    "Azure": (400, openai("The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your prompt and retry.", "content_filter", innererror={"code": "ResponsibleAIPolicyViolation"})),
    "OpenAI, policy": (400, openai("Your request was rejected as a result of our safety system.", "content_policy_violation", "invalid_request_error")),
    "OpenAI, prompt": (400, openai("Invalid prompt: your prompt was flagged as potentially violating our usage policy.", "invalid_prompt", "invalid_request_error")),
    "Anthropic, output": (400, anthropic("invalid_request_error", "Output blocked by content filtering policy")),
    "DeepSeek": (400, openai("Content Exists Risk", "invalid_request_error", "invalid_request_error")),
    "Alibaba": (400, openai("Input data may contain inappropriate content.", "data_inspection_failed")),
    # Length
    "OpenAI, length": (400, openai("This model's maximum context length is 8192 tokens.", "context_length_exceeded", "invalid_request_error")),
    "vLLM, length": (400, {"object": "error", "message": "This model's maximum context length is 4096 tokens. However, you requested 5000.", "type": "BadRequestError", "code": 400}),
    "SGLang, length": (400, {"object": "error", "message": "The input (70000 tokens) is longer than the model's context length (32768 tokens).", "type": "BadRequestError", "code": 400}),
    "llama.cpp, length": (400, openai("the request exceeds the available context size", 400, "exceed_context_size_error")),
    "Anthropic, length": (400, anthropic("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")),
    "Anthropic, size": (413, anthropic("request_too_large", "Request exceeds the maximum size")),
    "Bedrock, length": (400, {"message": "Input is too long for requested model."}),
    "Gemini, length": (400, google(400, "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576).", "INVALID_ARGUMENT")),
    "Together, length": (403, openai("Input token count + max_tokens parameter must be less than the context length of the model", None, "invalid_request_error")),
    "Cerebras, length": (400, openai("Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192", "context_length_exceeded")),
    "Groq, size": (413, openai("Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 12328, please reduce your message size and try again.", "rate_limit_exceeded", "tokens")),
    "OpenAI, size": (429, openai("Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 30601.", "rate_limit_exceeded", "tokens")),
    "a proxy, size": (413, b"<html><h1>413 Request Entity Too Large</h1></html>"),
    # The content of a row
    "OpenAI, a message": (400, openai("Invalid type for 'messages[0].content[1].text': expected a string.", "invalid_type", "invalid_request_error")),
    "OpenAI, an old message": (400, openai("Invalid value for 'content': expected a string, got null.", None, "invalid_request_error", where="messages.[0].content")),
    "OpenAI, a long message": (400, openai("Invalid 'messages[0].content': string too long.", "string_above_max_length", "invalid_request_error")),
    "Anthropic, an image": (400, anthropic("invalid_request_error", "messages.0.content.1.image.source.base64.data: The provided value is wrong")),
    "Gemini, an image": (400, google(400, "Invalid value at 'contents[0].parts[0].inline_data.data' (TYPE_BYTES), Base64 decoding failed", "INVALID_ARGUMENT")),
    "FastAPI, a message": (422, {"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "Input should be 'user'"}]}),
    "OpenAI, messages": (400, openai("Invalid value.", "invalid_value", "invalid_request_error", where="messages")),
    "vLLM, roles": (400, {"object": "error", "message": "Conversation roles must alternate user/assistant/...", "type": "BadRequestError", "code": 400}),
    "OpenAI, an image": (400, openai("Could not process image", "invalid_image", "invalid_request_error")),
    "Ollama, tools": (400, openai("registry.ollama.ai/library/x does not support tools", None, "api_error")),
    "vLLM, images": (400, {"object": "error", "message": "At most 1 image(s) may be provided in one request.", "type": "BadRequestError", "code": 400}),
    "Gemini, a file": (403, google(403, "You do not have permission to access the File abc or it may not exist.", "PERMISSION_DENIED")),
}  # fmt: skip
ACCOUNT_ERRORS: dict[str, tuple[int, Any]] = {
    # Keys
    "a bare 401": (401, b""),
    "OpenAI, key": (401, openai("Incorrect API key provided: sk-a***b.", "invalid_api_key", "invalid_request_error")),
    "OpenAI, scopes": (403, openai("You have insufficient permissions for this operation. Missing scopes: model.request")),
    "OpenAI, region": (403, openai("Country, region, or territory not supported", "unsupported_country_region_territory", "request_forbidden")),
    "OpenAI, deactivated": (403, openai("The OpenAI account associated with this API key has been deactivated.", "account_deactivated")),
    "Azure, key": (401, openai("Access denied due to invalid subscription key or wrong API endpoint.", "401")),
    "Azure, role": (403, openai("Principal does not have access to API/Operation.", "PermissionDenied")),
    "Anthropic, key": (401, anthropic("authentication_error", "invalid x-api-key")),
    "Anthropic, permission": (403, anthropic("permission_error", "Your API key does not have permission to use the specified resource.")),
    "Anthropic, disabled": (400, anthropic("invalid_request_error", "This organization has been disabled.")),
    "Gemini, key": (400, google(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", "API_KEY_INVALID")),
    "Gemini, denied": (403, google(403, "Your project has been denied access. Please contact support.", "PERMISSION_DENIED")),
    "Gemini, location": (400, google(400, "User location is not supported for the API use.", "FAILED_PRECONDITION")),
    "Vertex, API": (403, google(403, "Vertex AI API has not been used in project 1 before or it is disabled.", "PERMISSION_DENIED", "SERVICE_DISABLED")),
    "xAI, key": (400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***. You can obtain an API key from https://console.x.ai."}),
    "xAI, access": (403, {"code": "permission-denied", "error": "Access to the chat endpoint is denied. Please ensure you're using the correct credentials."}),
    "OpenRouter, key": (401, openai("No auth credentials found", 401)),
    "Cerebras, key": (401, openai("Wrong API Key", "wrong_api_key", "invalid_request_error")),
    "Groq, restricted": (400, openai("Organization has been restricted. Please reach out to support.", "organization_restricted", "invalid_request_error")),
    "Fireworks, suspended": (412, openai("Account x is suspended", "PRECONDITION_FAILED")),
    "Mistral, key": (401, {"detail": "Unauthorized"}),
    "LiteLLM, key": (401, openai("Authentication Error, Invalid proxy server token passed.", "401", "token_not_found_in_db")),
    "llama.cpp, key": (401, openai("Invalid API Key", 401, "authentication_error")),
    "a proxy, password": (407, b"<html>Proxy Authentication Required</html>"),
    "OpenAI, terminated": (403, openai("Your access was terminated due to violation of our policies, please check your email.", "access_terminated")),
    "Azure, blocked": (403, openai("Your resource has been temporarily blocked because we detected behavior that may violate our content policy.", "403")),
    "Bedrock, account": (400, {"message": "Operation not allowed"}),
    "Mistral, subscription": (403, {"message": "Inactive subscription or usage limit reached"}),
    # Money
    "OpenAI, not active": (429, openai("Your account is not active, please check your billing details on our website.", "billing_not_active")),
    "Moonshot, balance": (429, openai("You exceeded your current token quota, please check your account balance", None, "exceeded_current_quota_error")),
    "Zhipu, balance": (429, openai("Insufficient balance or no resource package. Please recharge.", "1113")),
    "Alibaba, balance": (400, openai("Access denied, please make sure your account is in good standing.", "Arrearage")),
    "OpenAI, quota": (429, openai("You exceeded your current quota, please check your plan and billing details.", "insufficient_quota", "insufficient_quota")),
    "OpenAI, quota without a code": (429, openai("You exceeded your current quota, please check your plan and billing details.", None, "insufficient_quota")),
    "OpenAI, spending": (429, openai("The project reached its limit.", "project_spend_limit_exceeded", "insufficient_quota")),
    "OpenAI, hard limit": (400, openai("Billing hard limit has been reached", "billing_hard_limit_reached", "invalid_request_error")),
    "Anthropic, credits": (400, anthropic("invalid_request_error", "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.")),
    "Anthropic, own limit": (400, anthropic("invalid_request_error", "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.")),
    "Anthropic, enforced limit": (429, anthropic("rate_limit_error", "Limit.", error_code="enforced_spend_limit_reached")),
    "DeepSeek, balance": (402, openai("Insufficient Balance", "invalid_request_error", "unknown_error")),
    "xAI, credits": (429, {"code": "Some resource has been exhausted", "error": "Your team t has either used all available credits or reached its monthly spending limit."}),
    "xAI, new team": (403, {"code": "permission-denied", "error": "Your newly created team doesn't have any credits or licenses yet."}),
    "OpenRouter, credits": (402, openai("This request requires more credits, or fewer max_tokens. You requested up to 4096 tokens, but can only afford 222.", 402)),
    "OpenRouter, budget": (403, openai("Budget spent", 403, metadata={"limit_source": "openrouter_workspace_budget"})),
    "OpenRouter, key's limit": (403, openai("Key limit exceeded (monthly limit). Manage it using https://openrouter.ai/settings/keys", 403)),
    "Together, credits": (402, openai("Credit limit exceeded. Please navigate to https://api.together.xyz/settings/billing", None, "credit_limit")),
    "Hugging Face, credits": (402, {"error": "You have exceeded your monthly included credits for Inference Providers."}),
    "LiteLLM, budget": (400, openai("Budget has been exceeded! Current cost: 26.075, Max budget: 0.25", "400")),
    "LiteLLM, user's budget": (429, openai("LiteLLM User: a, exceeded budget for model=x", "429", "budget_exceeded")),
    # Models
    "OpenAI, model": (404, openai("The model `m` does not exist or you do not have access to it.", "model_not_found", "invalid_request_error")),
    "OpenAI, project": (403, openai("Project `proj_x` does not have access to model `gpt-6`", "model_not_found", "invalid_request_error")),
    "OpenAI, kind of model": (404, openai("This is not a chat model and thus not supported in the v1/chat/completions endpoint.", None, "invalid_request_error")),
    "Azure, deployment": (404, openai("The API deployment for this resource does not exist.", "DeploymentNotFound")),
    "Anthropic, model": (404, anthropic("not_found_error", "model: claude-x")),
    "vLLM, model": (404, openai("The model `m` does not exist.", 404, "NotFoundError")),
    "Ollama, model": (404, openai('model "m" not found, try pulling it first', None, "api_error")),
    "Gemini, model": (404, google(404, "models/gemini-x is not found for API version v1beta, or is not supported for generateContent.", "NOT_FOUND")),
    "Vertex, model": (404, google(404, "Publisher Model `projects/p/locations/global/publishers/google/models/x` was not found or your project does not have access to it.", "NOT_FOUND")),
    "Vertex, Claude": (400, google(400, "Project `1` is not allowed to use Publisher Model `projects/p/claude`", "FAILED_PRECONDITION")),
    "Bedrock, model": (400, {"message": "The provided model identifier is invalid."}),
    "Bedrock, profile": (400, {"message": "Invocation of model ID x with on-demand throughput isn\u2019t supported. Retry your request with the ID of an inference profile."}),
    "Bedrock, access": (403, {"Message": "You don't have access to the model with the specified model ID."}),
    "Together, model": (400, openai("Unable to access non-serverless model X.", "model_not_available", "invalid_request_error")),
    "Groq, model": (400, openai("The model `x` has been decommissioned and is no longer supported.", "model_decommissioned", "invalid_request_error")),
    "Mistral, model": (400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "param": None, "code": "1500"}),
    "OpenRouter, model": (400, openai("x/y is not a valid model ID", 400)),
    "OpenRouter, no endpoint": (404, openai("No endpoints found for x/y:free.", 404)),
    "OpenRouter, data policy": (404, openai("No endpoints found matching your data policy.", 404)),
    "Hugging Face, model": (400, openai("The requested model 'x' is not supported by any provider you have enabled.", "model_not_supported", "invalid_request_error")),
    "DeepSeek, model": (400, openai("Model Not Exist", "invalid_request_error", "invalid_request_error")),
    "xAI, model": (404, {"code": "Some requested entity was not found", "error": "The model grok-x does not exist or your team t does not have access to it."}),
    "Fireworks, model": (404, openai("Model not found, inaccessible, and/or not deployed", "NOT_FOUND")),
    "LiteLLM, model": (400, openai("/chat/completions: Invalid model name passed in model=x. Call `/v1/models` to view available models for your key.", "400")),
    "SambaNova, model": (410, openai("The requested model is no longer available", None, "invalid_request_error")),
    "Cloudflare, model": (400, {"errors": [{"message": "No such model @cf/x or task", "code": 5007}], "success": False}),
    "LM Studio, model": (404, openai("No models loaded. Please load a model in the developer page.", None, "invalid_request_error")),
    "Ollama, own API": (404, {"error": "model 'm' not found"}),
    "Ollama, kind of model": (400, openai('"nomic-embed-text" does not support chat', None, "api_error")),
    "Moonshot, model": (404, openai("Not found the model x or Permission denied", None, "resource_not_found_error")),
    # URLs
    "FastAPI, path": (404, {"detail": "Not Found"}),
    "nginx": (404, b"<html><head><title>404 Not Found</title></head><body>nginx</body></html>"),
    "Go": (404, b"404 page not found"),
    "no body": (404, b""),
    "Azure, path": (404, openai("Resource not found", "404")),
    "Azure, version": (404, openai("API version not supported: 2024-10-21", "404")),
    "llama.cpp, path": (404, openai("File Not Found", 404, "not_found_error")),
    "Kong": (404, {"message": "no Route matched with those values"}),
    "OpenAI, path": (404, openai("Invalid URL (POST /v2/chat/completions)", "unknown_url", "invalid_request_error")),
    "a method": (405, {"detail": "Method Not Allowed"}),
    "a redirect": (308, b""),
    "HTTPS": (400, b"<html><title>400 The plain HTTP request was sent to HTTPS port</title></html>"),
}  # fmt: skip
UNKNOWN_ERRORS: dict[str, tuple[int, Any]] = {
    "a bare 403": (403, b""),
    "a firewall": (403, b"<html><title>Access denied</title>Sorry, you have been blocked</html>"),
    "a bare 400": (400, b""),
    "a bare 422": (422, b""),
    # A setting
    "OpenAI, unknown argument": (400, openai("Unrecognized request argument supplied: foo", None, "invalid_request_error")),
    "OpenAI, unknown parameter": (400, openai("Unknown parameter: 'foo'.", "unknown_parameter", "invalid_request_error")),
    "OpenAI, unsupported parameter": (400, openai("Unsupported parameter: 'max_tokens' is not supported with this kind of request.", "unsupported_parameter", "invalid_request_error")),
    "OpenAI, value": (400, openai("Invalid value for 'temperature'", "invalid_value", "invalid_request_error")),
    "OpenAI, parameter": (400, openai("Invalid 'temperature': decimal above maximum value.", "decimal_above_max_value", "invalid_request_error")),
    "OpenAI, tokens": (400, openai("max_tokens is too large: 100000. This model supports at most 16384 completion tokens.", "invalid_value", "invalid_request_error")),
    "OpenAI, tokens of the answer": (400, openai("This model's maximum context length is 8192 tokens. However, you requested 100020 tokens (20 in the messages, 100000 in the completion).", "context_length_exceeded", "invalid_request_error")),
    "OpenAI, user": (400, openai("Invalid 'user': string too long.", "string_above_max_length", where="user")),
    "OpenAI, a tool": (400, openai("Invalid schema for function 'f': None is not of type 'object'.", "invalid_function_parameters", "invalid_request_error")),
    "OpenAI, a format": (400, openai("Invalid schema for response_format 'a': In context=(), 'required' is missing.", None, "invalid_request_error")),
    "vLLM, tokens": (400, {"object": "error", "message": "'max_tokens' or 'max_completion_tokens' is too large: 100000. This model's maximum context length is 4096 tokens and your request has 20 input tokens (100000 > 4096 - 20).", "type": "BadRequestError", "code": 400}),
    "vLLM, parallel calls": (400, {"object": "error", "message": "This model does not support parallel tool calls", "type": "BadRequestError", "code": 400}),
    "Anthropic, tokens": (400, anthropic("invalid_request_error", "max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens for claude-x")),
    "Anthropic, temperature": (400, anthropic("invalid_request_error", "temperature: range: 0..1")),
    "Gemini, parameter": (400, google(400, "Invalid JSON payload received. Unknown name \"x\"", "INVALID_ARGUMENT")),
    "Gemini, argument": (400, google(400, "Request contains an invalid argument.", "INVALID_ARGUMENT")),
    "Bedrock, tokens": (400, {"message": "The maximum tokens you requested exceeds the model limit of 8192.", "__type": "ValidationException"}),
    "FastAPI": (422, {"detail": [{"loc": ["body", "n"], "msg": "field required", "input": {"error": "invalid api key"}}]}),
    "FastAPI, no messages": (422, {"detail": [{"loc": ["body", "messages"], "msg": "Field required"}]}),
    "Mistral, extra": (422, {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "foo"], "msg": "Extra inputs are not permitted", "input": 1}]}, "type": "invalid_request_error"}),
    "words of which nothing is known": (404, openai("The moon is in the wrong phase", "lunar")),
    "a status of which nothing is known": (418, {"error": "teapot"}),
}  # fmt: skip


@pytest.mark.parametrize(("status", "body"), ROW_ERRORS.values(), ids=ROW_ERRORS)
def test_error_about_a_prompt_concerns_its_row(status: int, body: Any) -> None:
    error = refused(status, body)
    assert (error.scope, error.is_retryable) == (ROW, False), str(error)


@pytest.mark.parametrize(("status", "body"), ACCOUNT_ERRORS.values(), ids=ACCOUNT_ERRORS)
def test_error_about_the_account_concerns_every_row(status: int, body: Any) -> None:
    error = refused(status, body)
    assert (error.scope, error.is_retryable, error.is_overload) == (ACCOUNT, False, False), str(error)


@pytest.mark.parametrize(("status", "body"), UNKNOWN_ERRORS.values(), ids=UNKNOWN_ERRORS)
def test_error_about_neither_row_nor_account_is_unknown(status: int, body: Any) -> None:
    assert refused(status, body).scope is UNKNOWN


@pytest.mark.parametrize("status", [408, 409, 425, 429, 498, 500, 502, 503, 504, 529])
def test_retryable_error_has_unknown_scope(status: int) -> None:
    error = refused(
        status, openai("The model is overloaded: not available. Access denied for now.", "model_not_available")
    )
    assert (error.scope, error.is_retryable) == (UNKNOWN, True)


@pytest.mark.parametrize(
    "kind",
    ["UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "AccessDeniedException"],
)
def test_aws_names_the_error_in_a_header(kind: str) -> None:
    error = refused(403, {"message": "No."}, x_amzn_errortype=f"{kind}:http://internal.amazon.com/coral/")
    assert (error.scope, str(error)) == (ACCOUNT, f"HTTP 403: No. ({kind})")


def test_message_of_an_account_error_keeps_text_and_code() -> None:
    assert str(refused(*ACCOUNT_ERRORS["xAI, access"])).endswith("the correct credentials. (permission-denied)")
    assert str(refused(*ACCOUNT_ERRORS["OpenAI, spending"])) == (
        "HTTP 429: The project reached its limit. (project_spend_limit_exceeded)"
    )


def test_error_about_reserved_credits_is_retried() -> None:
    """OpenRouter answers 402 with a wait while the credits are reserved for requests in flight."""
    body = openai("Insufficient credits", 402, metadata={"limit_source": "openrouter_credits"})
    error = refused(402, body, retry_after="2")
    assert (error.is_retryable, error.scope, error.retry_after) == (True, UNKNOWN, 2.0)


def test_error_behind_a_router_is_read() -> None:
    raw = json.dumps(google(400, "API key not valid.", "INVALID_ARGUMENT", "API_KEY_INVALID"))
    assert refused(400, openai("Provider returned error", 400, metadata={"raw": raw})).scope is ACCOUNT


# Errors within a success


def openai_stream(body: Any) -> object:
    decoder = openai_chat().stream()
    return [*decoder.feed(b"data: " + json.dumps(body).encode() + b"\n\n")]


def openai_error_event(body: Any) -> object:
    decoder = openai_chat().stream()
    return [*decoder.feed(b"event: error\ndata: " + json.dumps(body).encode() + b"\n\n")]


def whole(decode: Any) -> Any:
    return lambda body: decode(HttpResponse(200, {}, json.dumps(body).encode()))


READERS = {
    "OpenAI": whole(openai_response.decode),
    "OpenAI, streamed": openai_stream,
    "OpenAI, an error event": openai_error_event,
    "Gemini": whole(gemini_response.decode),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(
    ("error", "scope"),
    [
        ({"message": "Content violates usage guidelines", "code": "permission-denied"}, ROW),
        ({"message": "no", "code": "context_length_exceeded"}, ROW),
        ({"message": "Insufficient credits", "code": 402}, ACCOUNT),
        ({"message": "gone", "code": "invalid_api_key"}, ACCOUNT),
        ({"message": "You exceeded your quota", "type": "insufficient_quota", "code": "429"}, ACCOUNT),
    ],
)
def test_error_within_a_success_has_a_scope(read: Any, error: Any, scope: ErrorScope) -> None:
    with pytest.raises(RequestError) as caught:
        read({"error": error})
    assert (caught.value.scope, caught.value.is_retryable) == (scope, False)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(
    "error", [{"message": "busy", "status": "RESOURCE_EXHAUSTED"}, {"message": "busy", "code": "429"}]
)
def test_refusal_within_a_success_is_an_overload(read: Any, error: Any) -> None:
    with pytest.raises(RequestError) as caught:
        read({"error": error | {"details": [{"retryDelay": "30s"}]}})
    assert (caught.value.is_overload, caught.value.retry_after, caught.value.status_code) == (True, 30.0, 429)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 429}, 429),
        ({"code": "503"}, 503),
        ({"code": 42903}, 429),
        ({"error_code": 50001}, 500),
        ({"code": 40303}, None),
        ({"code": True}, None),
        ({"code": 1300}, None),
        ({"code": 200}, None),
        ({"code": -500}, None),
        ({"code": 10**400}, None),
        ({"code": "\u0664\u0662\u0669"}, None),
        ({"code": None, "status": 502}, 502),
    ],
)
def test_status_named_by_an_error_within_a_success_is_used(error: Any, status: int | None) -> None:
    with pytest.raises(RequestError) as caught:
        READERS["OpenAI"]({"error": {"message": "busy", **error}})
    assert (caught.value.status_code, caught.value.is_retryable) == (status, True)


def test_error_of_a_choice_has_a_scope() -> None:
    """OpenRouter puts the error of the server behind it into the choice."""
    choice = {
        "index": 0,
        "message": {"content": ""},
        "finish_reason": "error",
        "error": {"code": 402, "message": "empty"},
    }
    with pytest.raises(RequestError) as caught:
        READERS["OpenAI"]({"choices": [choice]})
    assert caught.value.scope is ACCOUNT


@pytest.mark.parametrize(
    ("kind", "message", "scope"),
    [
        ("invalid_request_error", "Output blocked by content filtering policy", ROW),
        ("invalid_request_error", "Your credit balance is too low", ACCOUNT),
        ("permission_error", "no", ACCOUNT),
        ("overloaded_error", "Overloaded", UNKNOWN),
    ],
)
def test_error_of_anthropic_within_a_success_has_a_scope(kind: str, message: str, scope: ErrorScope) -> None:
    with pytest.raises(RequestError) as caught:
        whole(anthropic_messages.decode)(anthropic(kind, message))
    assert caught.value.scope is scope


@pytest.mark.parametrize(
    ("kind", "scope", "again"),
    [
        ("accessDeniedException", ACCOUNT, False),
        ("resourceNotFoundException", ACCOUNT, False),
        ("validationException", UNKNOWN, False),
        ("modelNotReadyException", UNKNOWN, True),
        ("throttlingException", UNKNOWN, True),
    ],
)
def test_exception_of_bedrock_within_a_stream_has_a_scope(kind: str, scope: ErrorScope, again: bool) -> None:
    with pytest.raises(RequestError) as caught:
        list(ConverseStreamDecoder().feed(exception(kind, "It is so.")))
    assert (caught.value.scope, caught.value.is_retryable) == (scope, again)


# Arbitrary bodies


BODIES = [body for _, body in (*ROW_ERRORS.values(), *ACCOUNT_ERRORS.values()) if not isinstance(body, bytes)]
ODD = st.sampled_from(
    [None, True, 0, -1, 10**400, 1e308, float("nan"), "", "1" * 400, "\ud800", [], [[]], {}, {"a": {}}]
)


@settings(max_examples=300)
@given(st.data(), st.sampled_from(BODIES), st.integers(300, 599))
def test_any_error_body_is_read(data: st.DataObject, body: Any, status: int) -> None:
    fields = body.get("error", body)
    if isinstance(fields, dict):
        body = {"error": fields | {data.draw(st.sampled_from([*fields])): data.draw(ODD)}}
    raw = json.dumps(body).encode(errors="surrogatepass")
    assert refused(status, raw).scope in ErrorScope
    for read in READERS.values():
        with pytest.raises(RequestError):
            read(body)


@given(st.binary(max_size=200), st.integers(300, 599))
def test_any_bytes_are_read_as_an_error_body(body: bytes, status: int) -> None:
    assert refused(status, body).scope in ErrorScope


def test_deep_and_large_error_bodies_are_read() -> None:
    for body in (
        b"[" * 100_000,
        b'{"error":' * 150 + b"1" + b"}" * 150,
        json.dumps({"error": [{"message": "a"}] * 100_000}).encode(),
    ):
        assert refused(400, body).scope in ErrorScope


def test_request_that_cannot_be_made_concerns_its_row() -> None:
    assert invalid_request("an image cannot be read").scope is ROW
