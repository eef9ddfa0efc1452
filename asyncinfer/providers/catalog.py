"""The catalog: one row of data per provider, in the order of the table in the README.

`.github/CONTRIBUTING.md` says how to add a provider. The registry of engines, the exports of `asyncinfer` and the table
in the README are made from the rows. The tests in `tests/providers/test_catalog.py` run for each row.

The rows are in `rows/`, each in the first file that fits:

- `servers.py`: a server that users run themselves;
- `cloud_platforms.py`: an account of a cloud platform authorises the requests;
- `model_makers.py`: the company made the models;
- `model_hosts.py`: the service runs the models of others.

The docstring of each file names the sources of its rows.
"""

from __future__ import annotations

from asyncinfer.providers.provider import Provider
from asyncinfer.providers.rows.cloud_platforms import AZURE_OPENAI, BEDROCK, GOOGLE_GEMINI, GOOGLE_VERTEX
from asyncinfer.providers.rows.model_hosts import (
    CEREBRAS,
    FIREWORKS,
    GROQ,
    HUGGING_FACE_ROUTER,
    NEBIUS,
    OPENROUTER,
    PARASAIL,
    SAMBANOVA,
    TOGETHER,
)
from asyncinfer.providers.rows.model_makers import ANTHROPIC, DEEPSEEK, MISTRAL, OPENAI, XAI
from asyncinfer.providers.rows.servers import LM_STUDIO, OLLAMA, REMOTE, REMOTE_LLAMACPP, REMOTE_VLLM, SGLANG

CATALOG: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        REMOTE,
        REMOTE_VLLM,
        SGLANG,
        ANTHROPIC,
        OPENAI,
        DEEPSEEK,
        FIREWORKS,
        PARASAIL,
        TOGETHER,
        OPENROUTER,
        SAMBANOVA,
        CEREBRAS,
        HUGGING_FACE_ROUTER,
        AZURE_OPENAI,
        MISTRAL,
        GROQ,
        XAI,
        NEBIUS,
        OLLAMA,
        LM_STUDIO,
        REMOTE_LLAMACPP,
        BEDROCK,
        GOOGLE_GEMINI,
        GOOGLE_VERTEX,
    )
}
