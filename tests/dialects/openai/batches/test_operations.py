"""Jobs at the fakes of all providers: submitted, followed, cancelled, found again, and their results."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from asyncinfer import BatchStatus
from asyncinfer.dialects.batch import JobFile, SentJob
from asyncinfer.errors import ConfigError, RequestError
from tests.batch.fakes.apis import Api, Engine, running, texts
from tests.batch.fakes.base import Outcome, Plan

_BEFORE = datetime.now(UTC) - timedelta(minutes=1)


def _sent(path: Path, tag: str) -> SentJob:
    return SentJob(tag, JobFile(path, 1, 1), "24h", _BEFORE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job.jsonl"


async def test_job_answers_all_rows(api: Api, path: Path) -> None:
    job = await api.submit(path, "Hello?", "Bye?\u2028 \N{GRINNING FACE}")

    info = await api.status(job)

    assert (info.id, info.status, info.error) == (job, BatchStatus.COMPLETED, None)
    assert info.is_terminal
    assert info.completion_percentage == 100
    assert texts(await api.answers(info)) == {
        "row-0": "answer to Hello?",
        "row-1": "answer to Bye?\u2028 \N{GRINNING FACE}",
    }


async def test_job_passes_through_states(api: Api, path: Path) -> None:
    api.server.plan = lambda number: Plan(polls=3)
    job = await api.submit(path, "Hello?")

    states = [(await api.status(job)).status for _ in range(4)]

    assert states[0] is BatchStatus.IN_PROGRESS
    assert states[2] in (BatchStatus.FINALIZING, BatchStatus.IN_PROGRESS)  # Together and Mistral do not say it.
    assert states[3] is BatchStatus.COMPLETED


async def test_times_of_job_are_in_utc(api: Api, path: Path) -> None:
    info = await api.status(await api.submit(path, "Hello?"))

    assert info.created_at is not None
    assert abs(info.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert info.completed_at is not None
    assert info.completed_at.tzinfo is UTC


async def test_failed_rows_have_their_reason(api: Api, path: Path) -> None:
    api.server.plan = lambda number: Plan(
        outcome=lambda question: Outcome.FAILED if question == "bad" else Outcome.ANSWERED
    )

    info = await api.status(await api.submit(path, "good", "bad"))
    answers = await api.answers(info)

    assert texts(answers) == {"row-0": "answer to good"}
    [failed] = [answer for answer in answers if answer.custom_id == "row-1"]
    assert failed.response is not None or failed.error is not None
    if failed.response is not None:
        assert failed.response.status == 400
    else:
        assert failed.error is not None
        assert not failed.error.is_retryable


async def test_rows_that_expired_may_be_sent_again(api: Api, path: Path) -> None:
    api.server.plan = lambda number: Plan(
        ending=BatchStatus.EXPIRED,
        outcome=lambda question: Outcome.UNREACHED if question == "late" else Outcome.ANSWERED,
    )

    info = await api.status(await api.submit(path, "early", "late"))
    answers = await api.answers(info)

    assert info.status is BatchStatus.EXPIRED
    assert texts(answers) == {"row-0": "answer to early"}
    [late] = [answer for answer in answers if answer.custom_id == "row-1"]
    if late.response is not None:
        assert late.response.status == 500
    else:
        assert late.error is not None
        assert late.error.is_retryable


async def test_results_in_other_order_twice_and_with_gaps_are_read(api: Api, path: Path) -> None:
    questions = [f"q{number}" for number in range(20)]
    api.server.plan = lambda number: Plan(
        shuffled=True,
        doubled=True,
        outcome=lambda question: Outcome.MISSING if question == "q7" else Outcome.ANSWERED,
    )

    answers = await api.answers(await api.status(await api.submit(path, *questions)))

    assert len(answers) == 38
    assert texts(answers) == {f"row-{n}": f"answer to q{n}" for n in range(20) if n != 7}


async def test_failed_job_says_why_and_has_no_results(api: Api, path: Path) -> None:
    api.server.plan = lambda number: Plan(ending=BatchStatus.FAILED)

    info = await api.status(await api.submit(path, "Hello?"))

    assert info.status is BatchStatus.FAILED
    assert info.error is not None
    assert "the file is not valid" in info.error
    assert info.has_errors
    assert await api.answers(info) == []


async def test_cancelled_job_keeps_its_results(api: Api, path: Path) -> None:
    api.server.plan = lambda number: Plan(polls=5)
    job = await api.submit(path, "Hello?")
    await api.status(job)

    cancelled = await api.do(api.dialect.cancel(api.context, job))
    info = cancelled if cancelled.is_terminal else await api.status(job)

    assert info.status is BatchStatus.CANCELLED
    assert texts(await api.answers(info)) == {"row-0": "answer to Hello?"}


async def test_job_that_ended_is_not_cancelled(api: Api, path: Path) -> None:
    job = await api.submit(path, "Hello?")
    await api.status(job)

    assert (await api.do(api.dialect.cancel(api.context, job))).status is BatchStatus.COMPLETED


async def test_job_is_found_by_its_tag_after_lost_response(api: Api, path: Path) -> None:
    api.server.lost = 1
    with pytest.raises(RequestError) as failure:
        await api.submit(path, "Hello?")

    [found] = await api.do(api.dialect.find_jobs(api.context, _sent(path, "asyncinfer-1")))

    assert failure.value.is_retryable
    assert [found.id] == list(api.server.jobs)
    assert await api.do(api.dialect.find_jobs(api.context, _sent(path, "asyncinfer-2"))) == []


async def test_no_job_is_found_after_refused_request(api: Api, path: Path) -> None:
    api.server.refused = 1
    with pytest.raises(RequestError):
        await api.submit(path, "Hello?")

    assert await api.do(api.dialect.find_jobs(api.context, _sent(path, "asyncinfer-1"))) == []

    job = await api.submit(path, "Hello?")
    assert [info.id for info in await api.do(api.dialect.find_jobs(api.context, _sent(path, "asyncinfer-1")))] == [job]


async def test_upload_that_was_cut_off_is_repeated(api: Api, path: Path) -> None:
    api.server.cuts = 1
    with pytest.raises(RequestError):
        await api.submit(path, "Hello?")
    assert api.server.jobs == {}

    info = await api.status(await api.submit(path, "Hello?"))

    assert texts(await api.answers(info)) == {"row-0": "answer to Hello?"}


async def test_job_is_found_among_many(api: Api, path: Path) -> None:
    for number in range(22):
        await api.submit(path, f"q{number}", tag=f"asyncinfer-{number:03}")

    [found] = await api.do(api.dialect.find_jobs(api.context, _sent(path, "asyncinfer-003")))

    assert api.server.jobs[found.id].rows[0]["body"]["messages"][0]["content"] == "q3"


@pytest.mark.parametrize("limit", [5, 100])
async def test_pages_of_list_have_each_job_once(api: Api, path: Path, limit: int) -> None:
    jobs = [await api.submit(path, "q", tag=f"asyncinfer-{number}") for number in range(12)]

    seen, after = list[str](), None
    while True:
        page = await api.do(api.dialect.listing(api.context, after, limit))
        seen += [batch.id for batch in page.batches]
        after = page.last_id
        if not page.has_more:
            break

    assert sorted(seen) == sorted(jobs)


async def test_unknown_job_is_an_error(api: Api) -> None:
    with pytest.raises(RequestError) as failure:
        await api.status("job/../x")

    assert failure.value.status_code == 404


async def test_window_that_the_provider_does_not_accept_is_refused_before_upload(api: Api, path: Path) -> None:
    with pytest.raises(ConfigError, match=r"remote_params\.batch_completion_window: \w+ accepts"):
        await api.submit(path, "q", window="8d")

    assert api.server.requests == []


@pytest.mark.parametrize(("engine", "window"), [(Engine.GROQ, "7d"), (Engine.GROQ, "48h"), (Engine.MISTRAL, "72h")])
async def test_longer_window_is_sent(engine: Engine, window: str, path: Path) -> None:
    async with running(engine) as api:
        await api.submit(path, "q", window=window)

        [job] = api.server.jobs.values()
        assert window in (job.request.get("completion_window"), f"{job.request.get('timeout_hours')}h")


@pytest.mark.parametrize("engine", [Engine.OPENAI, Engine.AZURE_OPENAI])
async def test_job_may_have_requests_of_responses_api(engine: Engine, path: Path) -> None:
    async with running(engine, "/responses") as api:
        info = await api.status(await api.submit(path, "Hello?"))
        [answer] = await api.answers(info)

        assert answer.response is not None
        assert b"answer to Hello?" in answer.response.body


@pytest.mark.parametrize("engine", [Engine.GROQ, Engine.FIREWORKS, Engine.TOGETHER])
async def test_jobs_without_responses_api_say_so(engine: Engine, path: Path) -> None:
    async with running(engine, "/responses") as api:
        with pytest.raises(ConfigError, match=r"remote_params\.api: batch jobs of \w+ need chat completions"):
            await api.submit(path, "Hello?")


async def test_query_of_url_is_sent_with_each_request() -> None:
    async with running(Engine.OPENAI, query="team=a") as api:
        request = next(api.dialect.status(api.context, "b")).request

        assert request.url == f"{api.server.url}/batches/b?team=a"
