"""Requests a second of 500 agents of pydantic-ai on one server: an engine against pydantic-ai's own OpenAI model.

Measured as in `client_overhead.py`: the local server answers at once, and each client has a process and a core of its
own. All agents run at the same time, and each run is one request with instructions and a tool.

Agents spend most of their time in pydantic-ai itself, whatever their model is. Two measurements show this:

- `nothing` is a model that answers without a request (pydantic-ai's `FunctionModel`). No model can be faster, so
  `bound` is the largest ratio that any model can reach.
- `requests` are the same requests through the models alone (`Model.request`), without agents.

    python benchmarks/agents.py [--runs 2000] [--rounds 5] [--out benchmarks/results]

Needs the extra `pydantic-ai`, and the package openai.
"""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from client_overhead import QUESTION, Spent, Stopwatch, in_child, parser_for, serve, server, start
from plots import plot_ratios
from pydantic_ai import Agent, RequestUsage
from pydantic_ai.messages import InstructionPart, ModelRequest, ModelResponse, TextPart
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.tools import Tool

AGENTS = 500
WANTED = 5.0
INSTRUCTIONS = "Answer briefly, and in the language of the question."
Ask = Callable[[int], Awaitable[object]]


async def weather(city: str) -> str:
    """Report the weather.

    Args:
        city: The name of the city.
    """
    return f"It is sunny in {city}."


# The models


def with_engine(url: str) -> Model[Any]:
    from asyncinfer import ModelParams, RemoteInferenceEngine, RemoteParams
    from asyncinfer.integrations.pydantic_ai import AsyncInferModel

    remote = RemoteParams(api_url=url, num_workers=AGENTS, use_adaptive_concurrency=False)
    return AsyncInferModel(RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote))


def with_openai(url: str) -> Model[Any]:
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return OpenAIChatModel("m", provider=OpenAIProvider(base_url=url, api_key="none"), settings={"timeout": 120})


def with_nothing(url: str) -> Model[Any]:
    async def answer(messages: object, info: AgentInfo) -> ModelResponse:
        await asyncio.sleep(0)  # So that all agents are at work at the same time, as with the other models.
        return ModelResponse([TextPart("Paris.")], usage=RequestUsage(input_tokens=40, output_tokens=100))

    return FunctionModel(answer)


# What is measured


async def agents(make: Callable[[str], Model[Any]], url: str, runs: int) -> Spent:
    """The seconds and the CPU time of `runs` runs of agents."""
    model = make(url)
    made = [Agent(model, instructions=INSTRUCTIONS, tools=[weather]) for _ in range(AGENTS)]
    return await spent(lambda i: made[i % AGENTS].run(QUESTION.format(i)), runs)


async def requests(make: Callable[[str], Model[Any]], url: str, runs: int) -> Spent:
    """The seconds and the CPU time of the same requests without agents."""
    model, tool = make(url), Tool(weather)
    parameters = ModelRequestParameters(
        function_tools=[tool.tool_def], instruction_parts=[InstructionPart(INSTRUCTIONS)]
    )
    return await spent(
        lambda i: model.request([ModelRequest.user_text_prompt(QUESTION.format(i))], None, parameters), runs
    )


async def spent(ask: Ask, runs: int) -> Spent:
    """The seconds and the CPU time of `await ask(i)` for all runs, with `AGENTS` at once and with open connections."""

    async def worker(place: int, count: int) -> None:
        for i in range(place, count, AGENTS):
            await ask(i)

    for first in (AGENTS // 10, AGENTS // 2, AGENTS):
        await asyncio.gather(*(ask(i) for i in range(first)))
    watch = Stopwatch()
    await asyncio.gather(*(worker(place, runs) for place in range(AGENTS)))
    return watch.spent()


MODELS = {"asyncinfer": with_engine, "openai": with_openai, "nothing": with_nothing}
CLIENTS: dict[str, Any] = {
    **{name: partial(agents, make) for name, make in MODELS.items()},
    **{f"{name}, requests": partial(requests, make) for name, make in MODELS.items() if name != "nothing"},
}


def compare(runs: int, rounds: int, out: Path) -> None:
    rows: list[dict[str, dict[str, float]]] = []
    with server() as url:
        for _ in range(rounds):
            rows.append({name: in_child(name, url, runs, __file__) for name in CLIENTS})
    results: dict[str, Any] = {
        name: {key: statistics.median(row[name][key] for row in rows) for key in ("rate", "cpu_us", "rss_mb")}
        for name in CLIENTS
    }
    results["ratios"] = ratios = {
        "agents": median_ratio(rows, "openai", "asyncinfer"),
        "bound": median_ratio(rows, "openai", "nothing"),
        "requests": median_ratio(rows, "openai, requests", "asyncinfer, requests"),
    }
    print(f"{'client':>21} {'requests/s':>11} {'CPU/request':>12}")
    for name in CLIENTS:
        print(f"{name:>21} {results[name]['rate']:>11.0f} {results[name]['cpu_us']:>9.0f} us")
    print("CPU of openai divided by CPU of asyncinfer:", {name: round(ratio, 2) for name, ratio in ratios.items()})
    out.mkdir(parents=True, exist_ok=True)
    (out / "agents.json").write_text(json.dumps(results, indent=2) + "\n")
    plot_ratios(ratios, "CPU of pydantic-ai's OpenAI model / CPU of asyncinfer", out / "agents.png", wanted=WANTED)


def median_ratio(rows: list[dict[str, dict[str, float]]], one: str, other: str) -> float:
    """The CPU time per request of `one`, divided by the CPU time of `other` in the same round."""
    return statistics.median(row[one]["cpu_us"] / row[other]["cpu_us"] for row in rows)


def main() -> None:
    args = parser_for(__doc__, "runs", 2_000).parse_args()
    start(args, CLIENTS, serve, lambda: compare(args.runs, args.rounds, args.out))


if __name__ == "__main__":
    main()
