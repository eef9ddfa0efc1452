"""APIs of cloud platforms, whose accounts authorise the requests: Azure OpenAI, Bedrock, Gemini and Vertex.

`azure.py`, `aws.py` and `google.py` beside this folder have the accounts, the URLs and the sources.
"""

from __future__ import annotations

from dataclasses import replace

from asyncinfer.config import InferenceEngineType
from asyncinfer.dialects.batch_steps import GCS, S3
from asyncinfer.dialects.bedrock.batches import BEDROCK_BATCHES
from asyncinfer.dialects.bedrock.dialect import BEDROCK_CONVERSE
from asyncinfer.dialects.google.batches import GEMINI_BATCHES
from asyncinfer.dialects.google.gemini import GEMINI
from asyncinfer.dialects.google.native_api import NATIVE
from asyncinfer.dialects.google.vertex import VERTEX
from asyncinfer.dialects.google.vertex_batches import VERTEX_BATCHES
from asyncinfer.dialects.openai.batches.azure import AZURE as AZURE_BATCHES
from asyncinfer.dialects.openai.batches.dialect import openai_batches
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.dialects.openai.quirks import OPENAI_REASONING_MODELS, Files, Quirks
from asyncinfer.dialects.openai.responses.request import OPENAI_RESPONSES_MODELS, ResponsesQuirks
from asyncinfer.providers.auth import Key
from asyncinfer.providers.aws import Aws, S3Auth
from asyncinfer.providers.azure import CHATS, AzureAuth, azure_models_url, azure_url, with_api_version
from asyncinfer.providers.google import GeminiKey, GoogleTokens, vertex_url
from asyncinfer.providers.provider import Provider

_VERTEX = "https://{REGION}-aiplatform.googleapis.com/v1beta1"

AZURE_OPENAI = Provider(
    InferenceEngineType.AZURE_OPENAI,
    f"{{AZURE_OPENAI_ENDPOINT}}{CHATS}",
    AzureAuth(),
    replace(
        openai_chat(
            Quirks(
                object_root=True,
                guides_with_tools=True,
                token_limit="max_completion_tokens",
                reasoning_models=OPENAI_REASONING_MODELS,  # Many users name a deployment after its model.
                hides_reasoning_models=True,
                documents=Files.NONE,
            ),
            responses=ResponsesQuirks(documents=Files.INLINE),
        ),
        models_url=azure_models_url,
    ),
    batch=openai_batches(AZURE_BATCHES),
    url_transform=azure_url,
    completed_url=with_api_version,
    class_name="AzureOpenAIInferenceEngine",
    responses_models=OPENAI_RESPONSES_MODELS,
    extra="azure",
    requires="azure.identity",
    prices="azure",
)
BEDROCK = Provider(
    InferenceEngineType.BEDROCK,
    "https://bedrock-runtime.{AWS_REGION}.amazonaws.com",
    Aws("bedrock", "AWS_BEARER_TOKEN_BEDROCK"),
    BEDROCK_CONVERSE,
    batch=BEDROCK_BATCHES,
    batch_auth={S3: S3Auth()},
    non_chat_prefixes=("amazon.rerank-", "cohere.rerank-"),
    chat_types=frozenset({"chat"}),
    variable_aliases={"AWS_REGION": ("AWS_DEFAULT_REGION",)},
    extra="bedrock",
    requires="botocore",
    model_prefixes=(
        "amazon.",
        "anthropic.",
        "arn:aws:bedrock:",
        "us.anthropic.",
        "eu.anthropic.",
        "global.anthropic.",
    ),
    prices="aws",
)
GOOGLE_GEMINI = Provider(
    InferenceEngineType.GOOGLE_GEMINI,
    "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
    GeminiKey(),
    GEMINI,
    batch=GEMINI_BATCHES,
    batch_auth={NATIVE: Key("GEMINI_API_KEY", "x-goog-api-key", "")},
    non_chat_prefixes=(
        "aqa",
        "embedding-",
        "gemini-embedding-",
        "imagen-",
        "lyria-",
        "text-embedding-",
        "veo-",
    ),
    class_name="GoogleGeminiInferenceEngine",
    model_prefixes=("gemini-",),
    prices="google",
)
GOOGLE_VERTEX = Provider(
    InferenceEngineType.GOOGLE_VERTEX,
    f"{_VERTEX}/projects/{{PROJECT_ID}}/locations/{{REGION}}/endpoints/openapi/chat/completions",
    GoogleTokens(),
    VERTEX,
    batch=VERTEX_BATCHES,
    batch_auth={GCS: GoogleTokens()},
    listing=f"{_VERTEX}/publishers/google/models",
    non_chat_prefixes=(
        "google/chirp",
        "google/gemini-embedding-",
        "google/imagegeneration",
        "google/imagen-",
        "google/imagetext",
        "google/lyria-",
        "google/multimodalembedding",
        "google/text-embedding-",
        "google/text-multilingual-embedding-",
        "google/textembedding",
        "google/veo-",
    ),
    variable_aliases={"PROJECT_ID": ("GOOGLE_CLOUD_PROJECT",), "REGION": ("GOOGLE_CLOUD_LOCATION",)},
    url_transform=vertex_url,
    extra="vertex",
    requires="google.auth",
    prices="google",
)
