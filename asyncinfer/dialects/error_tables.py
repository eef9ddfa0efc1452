"""What the errors of each provider say: codes, messages and statuses about one row, the account or the settings.

Sources, all read in November 2026: OpenAI "Error codes"; Azure OpenAI "Troubleshoot errors", "Content filtering";
Anthropic "Errors", "Spend limits"; Gemini "Troubleshooting", "API errors"; google.rpc.Code, google.api ErrorReason;
Bedrock "Troubleshooting API error codes", botocore 1.44 (`bedrock-runtime`); Together "Error codes"; Fireworks
"Inference error codes"; Groq "API error codes"; Mistral "Error glossary"; OpenRouter "Errors and Debugging"; xAI
"Debugging errors"; DeepSeek "Error codes"; Cerebras "Error codes"; SambaNova "API error codes"; Hugging Face
"Inference Providers"; the source code of vllm 0.32, sglang 0.5.23, llama.cpp's server, Ollama and LiteLLM's proxy.
Some messages are from issues that users reported to these projects.
"""

from __future__ import annotations

import re

from asyncinfer.errors import ErrorScope


def _codes(names: str) -> frozenset[str]:
    return frozenset(names.split())


def _any(*words: str) -> re.Pattern[str]:
    return re.compile("|".join(words))


# Codes, in lower case with underscores for hyphens.
ROW_CODES = _codes(
    """
    content_filter content_filtered content_policy_violation content_policy_violation_error content_violation
    responsibleaipolicyviolation invalid_prompt moderation_blocked moderation_error data_inspection_failed
    datainspectionfailed prohibited_content safety flagged_input
    context_length_exceeded context_window_exceeded exceed_context_size_error exceeds_context_size string_too_long
    string_above_max_length max_tokens_exceeded request_too_large payload_too_large input_too_long prompt_too_long
    invalid_image image_too_large image_parse_error invalid_image_url invalid_image_format invalid_base64_image
    unsupported_image_media_type image_content_policy_violation failed_to_download_image
    empty_image_file image_file_not_found image_file_too_large image_too_small invalid_image_mode
    bio_policy misalignment_policy_violation
    tool_use_failed json_validate_failed
    """
)
# Codes for a text that is too long. The text may be in the messages or in a setting.
TEXT_LENGTH_CODES = _codes("string_too_long string_above_max_length")
BILLING_CODES = _codes(
    """
    insufficient_quota exceeded_current_quota_error accountoverdueerror insufficient_user_quota
    insufficient_credits insufficient_balance insufficient_funds credit_balance_exhausted credit_balance_too_low
    credit_limit out_of_credits payment_required arrearage billing_error billing_not_active billing_disabled
    billing_hard_limit_reached organization_spend_limit_exceeded project_spend_limit_exceeded
    organization_usage_limit_exceeded project_usage_limit_exceeded spend_limit_reached
    enforced_spend_limit_reached budget_exceeded exceeded_budget openrouter_credits openrouter_key_limit
    openrouter_guardrail_budget openrouter_workspace_budget
    """
)
STATE_CODES = _codes(
    """
    access_terminated account_deactivated account_suspended account_disabled organization_restricted
    organization_disabled consumer_suspended
    """
)
ACCOUNT_CODES = _codes(
    """
    invalid_api_key incorrect_api_key wrong_api_key missing_api_key expired_api_key api_key_invalid
    api_key_expired api_key_disabled api_key_service_blocked api_key_http_referrer_blocked
    api_key_ip_address_blocked api_key_android_app_blocked api_key_ios_app_blocked invalid_authentication
    authentication authentication_error authenticationerror unauthenticated unauthorized auth_error
    invalid_token token_expired token_not_found_in_db expired_key no_api_key access_token_expired
    access_token_scope_insufficient access_token_type_unsupported credentials_missing account_state_invalid
    permission_denied permission_error permission_denied_error permissiondenied iam_permission_denied
    user_project_denied insufficient_permissions permissions_error model_permission_blocked_org
    model_permission_blocked_project access_denied accessdenied consumer_invalid service_disabled
    invalid_organization key_model_access_denied team_model_access_denied user_model_access_denied
    organization_verification_required model_not_found modelnotfound modelnotfounderror model_not_available
    model_not_supported unknown_model invalid_model modelnotopen model_decommissioned model_deprecated
    model_terms_required deploymentnotfound deployment_not_found dedicated_endpoint_not_running
    operationnotsupported not_found not_found_error notfounderror notfound resourcenotfound unknown_url
    invalid_url unsupported_country_region_territory unsupported_location failed_precondition
    accessdeniedexception resourcenotfoundexception unrecognizedclientexception invalidsignatureexception
    incompletesignature incompletesignatureexception expiredtoken expiredtokenexception invalidclienttokenid
    missingauthenticationtoken missingauthenticationtokenexception optinrequired notauthorized
    notauthorizedexception signaturedoesnotmatch requestexpired ftuformnotfilled
    """
)


_FILES = r"(?:images?|vision|audio|videos?|documents?|files?|pdfs?|multimodal)\b"
_MEDIA = rf"(?:{_FILES}|(?:tools?|functions?)\b(?! (?:choice|schema|parameter)))"
ROW_TEXTS = _any(
    # Moderation: xAI, OpenAI, OpenRouter, Azure, Anthropic, DeepSeek, Alibaba, Bedrock, Google.
    r"content violates",
    r"violat(?:es?|ing|ion of) (?:our|the|openai's|usage|content)[\w' ]{0,30}(?:polic|guideline|terms)",
    r"content management policy",
    r"content[ -]filter(?:ing)? (?:policy|system)",
    r"(?:blocked|rejected|refused|filtered|stopped) (?:by|due to|because of|as a result of)[\w' ]{0,30}"
    r"(?:safety|content|moderation|guardrail|polic)",
    r"(?:prompt|input|message|content|request|text|image|output|response)s? (?:\w+ ){0,4}flagged",
    r"requires moderation",
    r"content exists risk",
    r"inappropriate content",
    r"prohibited content",
    # Length: OpenAI, vLLM, SGLang, llama.cpp, Anthropic, Bedrock, Gemini, Together, Cerebras, Groq, TGI.
    r"context (?:length|window|size|limit)",
    r"(?:prompt|input|request|message|conversation|payload|content|image|file|body)s? (?:is |are |was |were )?"
    r"too (?:long|large|big)",
    r"(?:exceeds?|exceeded|than) the (?:maximum|model's)[\w' ]{0,30}(?:tokens|length|context|size)",
    r"maximum (?:input|prompt|context|request) (?:length|size)",
    r"input (?:length|token count)",
    r"`inputs` tokens",
    r"reduce (?:the length|your (?:message|prompt|input)|the (?:prompt|input))",
    r"current length is \d+ while limit is",
    r"roles must (?:\w+ )?alternate",
    # The content of the row: images, documents, tools. OpenAI, OpenRouter, Ollama, vLLM, Anthropic.
    rf"(?:does not|doesn't|do not|don't|cannot|that) support (?:\w+ )?{_MEDIA}",
    rf"{_MEDIA}(?: \w+){{0,3}} (?:is|are) not supported",
    r"(?:could not|couldn't|unable to|failed to|cannot) (?:process|decode|download|fetch|load|parse|read|open)"
    rf"[\w' ]{{0,20}} (?:{_FILES}|url)",
    rf"(?:invalid|unsupported|corrupt(?:ed)?|not a)(?: \w+)?[ /]{_FILES}",
    r"image[\w' ]{0,40}exceeds",
    r"at most \d+ (?:image|video|audio)",
    r"access the file\b",
)
# A location within the messages: OpenAI `messages[0].content`, Anthropic `messages.0.content`, Gemini `contents[0]`.
MESSAGE_LOCATION = re.compile(r"\b(?:messages|input|contents)(?:\.\[?|\[)\d")
# Fields of an error that name the location: OpenAI `param`, Google `field`, FastAPI `loc` (a list of names).
LOCATION_FIELDS = frozenset({"param", "field", "loc"})
MESSAGE_FIELD = re.compile(r"(?:body\.)?(?:messages|input|contents)\b")
# A setting of the call is wrong. All rows share it. Some of these errors mention a length too.
SETTING_TEXTS = _any(
    r"(?:unrecognized|unknown|unsupported|unexpected|missing|extra) (?:required |request |keyword )?"
    r"(?:argument|parameter|name|field|propert)",
    r"\bfield required|additional properties|extra (?:inputs|fields) (?:are )?not permitted",
    r"\bmax_(?:completion_|new_|output_)?tokens\b['\"`]?(?: parameter)?(?: or [\w'\"`]+)?:? "
    r"(?:is |was |value )?(?:too (?:large|high|big|small)|must be|cannot|should|of \d|\d+ >|\(\d)"
    r"(?! less than the context)",
    r"\b(?:temperature|top_p|top_k|min_p|logit_bias|response_format|json_schema|tool_choice|"
    r"frequency_penalty|presence_penalty)\b['\"`]?:? (?:is |was |value |must |should |cannot |does |exceeds|too )",
    r"parallel[ _]tool",
)
BILLING_TEXTS = _any(
    # Anthropic, DeepSeek, OpenAI, xAI, OpenRouter, Together, Hugging Face, LiteLLM, Fireworks, Gemini.
    r"credit balance is too low",
    r"insufficient[ _](?:balance|credits?|funds|user quota)",
    r"(?:no|any|out of|all available|requires more) credits?\b",
    r"(?:credit|key) limit exceeded",
    r"(?:reached|exceeded|over|hit|crossed)[\w' ]{0,40}"
    r"(?:spend(?:ing)?|billing|hard|specified api usage|specified workspace api usage) limit",
    r"(?:spend(?:ing)?|billing|hard) limit (?:has been |was |is )?(?:reached|exceeded)",
    r"exceeded your monthly included credits",
    r"budget has been exceeded|exceeded ?budget|over budget|crossed budget",
    r"(?:account|billing) is not active",
    r"negative balance|prepa(?:id|yment) (?:credits?|balance)[\w' ]{0,20}(?:depleted|exhausted|used)",
)
# Every text that `BILLING_TEXTS` matches contains one of these words. Searching for them first is faster.
BILLING_HINTS = (
    "credit",
    "insufficient",
    "spend",
    "billing",
    "hard",
    "specified",
    "budget",
    "not active",
    "key limit",
    "balance",
)
# Messages about a wrong URL or path.
_URLS = r"(?:invalid|unknown|unrecognized)(?: request)? url"
_PATHS = r"resource not found|page not found|file not found|route not found|no route|cannot post"
PATH_TEXTS = re.compile(rf"{_URLS}|{_PATHS}")
# The account was suspended or restricted.
STATE_TEXTS = _any(
    r"(?:account|organi[sz]ation|project|team|consumer|api key|access)[\w' ]{0,40}"
    r"(?:deactivated|disabled|suspended|terminated|banned|restricted|denied access)",
    r"(?:resource|subscription)[\w' ]{0,40}blocked",
)
ACCOUNT_TEXTS = _any(
    # Keys and permissions.
    r"(?:incorrect|invalid|wrong|missing|expired|no|unknown|malformed|disabled|revoked) (?:\w+ )?"
    r"(?:api|subscription|access|auth)[ _-]?key",
    r"(?:api|subscription|access) key (?:is |was |has been |you provided )?"
    r"(?:not|invalid|expired|disabled|missing|revoked|reported|blocked)",
    r"no auth credentials|authentication (?:fails|failed|error)",
    r"security token included in the request is",
    r"request signature we calculated does not match",
    r"(?:does not|doesn't|do not|don't) have (?:\w+ ){0,3}(?:permission|access)",
    r"insufficient permissions|missing scopes",
    r"permission ['\w. ]{0,60}denied|access (?:to [\w' ]{0,40})?(?:is |was )?denied|model access is denied",
    r"not (?:authorized|allowed|permitted|entitled) to",
    r"must be a member of an organization|must be verified|verify your organization",
    r"(?:country|region|territory|location)[\w', ]{0,30}not (?:supported|available|allowed)",
    # Models.
    r"\bmodels?\b[^\n]{0,160}(?:not (?:exist|found|available|supported|deployed|accessible|recognized)|no longer"
    r"|decommissioned|deprecated|end of its life)",
    r"(?:unknown|invalid|no such|not a valid|unrecognized|unsupported) model",
    r"model (?:id|name|identifier)[\w' ]{0,20}invalid",
    r"not a chat model|(?:does not|doesn't) support (?:chat|converse|completions?|this (?:api|endpoint|action))",
    r"(?:unable to|cannot|can't) access (?:non-serverless |the |this )?model",
    r"not allowed to use publisher model|operation not allowed|no models? loaded|(?:inactive|no active) subscription",
    r"try pulling it",
    r"deployment[^\n]{0,80}(?:not exist|not found)",
    r"on-demand throughput",
    r"no (?:allowed )?(?:endpoints|providers)(?: are available)?(?: found)? (?:for|matching)",
    r"dedicated endpoint",
    # URLs.
    _URLS,
    r"api[ -]version[^\n]{0,40}(?:not|invalid|unsupported|missing)",
    _PATHS,
    r"plain http request was sent to https",
)
# The scope by the status alone. Statuses that are missing here are UNKNOWN.
STATUSES: dict[int, ErrorScope] = {
    401: ErrorScope.ACCOUNT,
    402: ErrorScope.ACCOUNT,
    405: ErrorScope.ACCOUNT,  # The URL is not that of a chat API.
    407: ErrorScope.ACCOUNT,  # A proxy requires credentials.
    410: ErrorScope.ACCOUNT,  # SambaNova and OpenAI: the model is gone.
    412: ErrorScope.ACCOUNT,  # Fireworks: the account is suspended.
    413: ErrorScope.ROW,
    414: ErrorScope.ACCOUNT,
}
# The message for an unknown path, without any further detail.
NO_SUCH_PATH = re.compile(r"\W*(?:no text|null|(?:(?:http|error) )?(?:404\W*)?not found\b[^\n]{0,60})?\W*")
