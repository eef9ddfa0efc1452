"""The command `serve`, in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from asyncinfer.cli.serve import keys_in_variables
from tests.cli.conftest import ROOT, Completed, Job

ASK = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}]}


def started(job: Job, *args: str, **environment: str) -> subprocess.Popen[str]:
    return job.start(*args, command="serve", env={**job.environment(), **environment})


def finished(job: Job, *args: str, **environment: str) -> Completed:
    with started(job, *args, **environment) as process:
        out, err = process.communicate(timeout=60)
    return Completed(process.returncode, out, err)


@contextmanager
def serving(job: Job, *args: str, **environment: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """The process, and the URL that it shows."""
    with started(job, "--port", "0", *args, **environment) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        try:
            assert line.startswith("Serving scripted at http://127.0.0.1:"), line + process.stderr.read()
            yield process, line.split()[3]
        finally:
            process.kill()


def post(url: str, **headers: str) -> tuple[int, Any]:
    body = json.dumps(ASK).encode()
    request = urllib.request.Request(f"{url}/chat/completions", body, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_lets_running_answers_finish(job: Job, number: signal.Signals) -> None:
    job.configure(seconds=1)
    answers: list[tuple[int, Any]] = []
    with serving(job) as (process, url):
        asking = threading.Thread(target=lambda: answers.append(post(url)))
        asking.start()
        while not job.requests():
            assert process.poll() is None
        process.send_signal(number)
        asking.join()
        out, err = process.communicate(timeout=60)
    [(status, answer)] = answers
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "answer to Hi")
    assert process.returncode == 0
    assert "topping after the running answers" in err
    assert out == ""


@pytest.mark.slow
def test_server_accepts_the_keys_in_the_variables(job: Job) -> None:
    with serving(job, "--api-key-env", "KEYS", KEYS="one,two") as (_, url):
        assert post(url)[0] == 401
        assert post(url, Authorization="Bearer two")[0] == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--host", "0.0.0.0"], "host: other machines may reach a server on '0.0.0.0', so it needs an API key"),
        (["--api-key-env", "UNSET_KEY"], "--api-key-env: the environment variable UNSET_KEY is not set, or is empty"),
        (["--max-concurrency", "0"], "max_concurrency: should be at least 1 (found 0)"),
        (["--pass-field", "custom"], "passed_fields: ScriptedEngine passes no fields to an API"),
        (["--generation.max_new_tokens", "0"], "generation.max_new_tokens"),
        (["--unknown", "5"], "unknown"),
    ],
)
def test_wrong_option_ends_the_command_with_a_message(job: Job, args: list[str], message: str) -> None:
    done = finished(job, *args)
    assert done.code == 2, done.err
    assert message in done.err
    assert "Traceback" not in done.err


@pytest.mark.slow
def test_command_without_a_configuration_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.scripted", "serve"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "there is no configuration: give -c FILE" in done.stderr


def test_variable_may_hold_several_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYS", " a, b\nc,")
    assert [key.get_secret_value() for key in keys_in_variables(["KEYS"])] == ["a", "b", "c"]
