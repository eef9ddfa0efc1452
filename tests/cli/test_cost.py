"""The cost of a job on the command line, and its limits."""

from __future__ import annotations

from tests.cli.conftest import Job

PRICES = ("--cost_per_million.input", "1", "--cost_per_million.output", "2", "--cost_per_million.as_of", "2026-11-01")


def test_summary_has_the_cost_and_the_date_of_the_prices(job: Job) -> None:
    done = job.run(*PRICES)
    assert done.code == 0, done.err
    summary = dict(line.split(None, 1) for line in done.err.splitlines())
    assert summary["cost"] == "$0.00011 (prices: cost_per_million, 2026-11-01)"


def test_summary_of_a_free_engine_has_no_cost(job: Job) -> None:
    assert "cost" not in job.run().err


def test_limit_ends_the_job_with_its_own_exit_code_and_says_how_to_go_on(job: Job) -> None:
    settings = (*PRICES, "--generation.max_new_tokens", "10")
    limited = job.run(*settings, "--max_tokens", "380")
    assert limited.code == 4
    assert "max_tokens is 380" in limited.err
    assert "raise the limit and run the same again" in limited.err
    assert "Cost of this run: $0.000" in limited.err
    assert "asyncinfer infer -c" in limited.err
    asked = len(job.requests())
    assert 0 < asked < 10
    assert job.run(*settings, "--max_tokens", "100000").code == 0
    assert len(job.requests()) == 10


def test_limit_without_a_price_is_an_error_of_the_configuration(job: Job) -> None:
    done = job.run("--max_cost", "1")
    assert done.code == 2
    assert "max_cost: the price of 'scripted' is unknown; set cost_per_million" in done.err
    assert job.requests() == []


def test_estimate_answers_a_few_rows_and_says_what_the_others_take(job: Job) -> None:
    done = job.run(*PRICES, "--estimate", "4")
    assert done.code == 0, done.err
    assert len(job.requests()) == 4
    lines = dict(line.split("  ", 1) for line in done.err.splitlines() if "  " in line)
    assert lines["pilot"].strip() == "4 rows answered, for $0.000044; their answers are saved"
    assert lines["rows left"].strip() == "6 of 10"
    assert lines["tokens out"].strip() == "about 24 (24 to 24)"
    assert lines["cost"].strip() == "about $0.000066 ($0.000066 to $0.000066) (prices: cost_per_million, 2026-11-01)"
    assert "Student's t" in done.err
    assert job.run(*PRICES).code == 0
    assert len(job.requests()) == 10


def test_estimate_of_a_finished_job_sends_nothing_and_says_so(job: Job) -> None:
    assert job.run(*PRICES).code == 0
    done = job.run(*PRICES, "--estimate", "4")
    assert done.code == 0, done.err
    assert len(job.requests()) == 10
    assert "pilot       4 rows that were answered before; nothing was sent" in done.err
    assert f"answered    all of them: the job is finished. The answers are in {job.output}; without --reuse" in done.err
    assert "cost        about $0.00011" in done.err
    reused = job.run(*PRICES, "--estimate", "4", "--reuse")
    assert "rows left  0 of 10: the job is finished" in reused.err
    assert "Student's t" not in reused.err


def test_estimate_of_a_finished_table_sends_nothing_and_says_so(job: Job) -> None:
    table = ("--output.path", str(job.output.with_suffix(".csv")))
    assert job.run(*PRICES, *table).code == 0
    done = job.run(*PRICES, *table, "--estimate", "4")
    assert done.code == 0, done.err
    assert len(job.requests()) == 10
    lines = dict(line.split("  ", 1) for line in done.err.splitlines() if "  " in line)
    assert lines["pilot"].strip() == "no rows"
    assert lines["answered"].strip().endswith("out.csv; they cannot be reused, so a run sends these rows again")
    assert lines["estimate"].strip() == "none: nothing was sent"
    assert "Student's t" not in done.err
