"""The blocking twins in a script, in threads, inside a running loop, and at the end of a program."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread

from asyncinfer import Conversation, InferenceConfig, InferenceFailedError
from tests.fakes import FakeEngine, answer_to, question, questions, rejection, write_jsonl

REPOSITORY = Path(__file__).parents[2]


def texts(conversations: list[Conversation]) -> list[object]:
    return [c.messages[-1].content for c in conversations]


def test_every_async_method_has_a_blocking_twin(tmp_path: Path) -> None:
    engine = FakeEngine()
    assert texts(engine.infer(questions(3))) == [answer_to(f"question {i}") for i in range(3)]
    assert not engine.infer_partial(questions(2)).has_failures
    config = InferenceConfig(
        input_path=str(write_jsonl(tmp_path / "in.jsonl", questions(4))), output_path=str(tmp_path / "out.jsonl")
    )
    assert engine.run(config).completed == 4
    assert "".join(delta.content for delta in engine.stream(question("hi"))) == answer_to("hi")
    assert sorted(index for index, _ in engine.infer_iter(questions(5))) == [0, 1, 2, 3, 4]
    assert engine.list_models() == ["fake"]
    engine.close()


def test_blocking_twin_raises_the_error_of_the_run() -> None:
    def script(_: str, __: int) -> None:
        raise rejection()

    with pytest.raises(InferenceFailedError):
        FakeEngine(script).infer(questions(1))


def test_threads_can_share_an_engine() -> None:
    engine = FakeEngine(lambda *_: anyio.lowlevel.checkpoint(), workers=4)
    with ThreadPoolExecutor(8) as pool:
        answered = list(pool.map(lambda i: texts(engine.infer([question(f"{i}")])), range(24)))
    assert answered == [[answer_to(f"{i}")] for i in range(24)]
    assert engine.peak <= 4


async def test_blocking_twin_works_inside_a_running_loop() -> None:
    assert texts(FakeEngine().infer([question("a")])) == [answer_to("a")]


async def test_blocking_twin_works_while_a_task_of_the_blocked_loop_holds_the_only_permit() -> None:
    """The blocking twin must not wait for that permit: it would wait forever."""
    release = anyio.Event()
    engine = FakeEngine(lambda text, _: release.wait() if text == "waits" else None, workers=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine.ainfer, [question("waits")])
        while not engine.in_flight:
            await anyio.lowlevel.checkpoint()
        assert texts(engine.infer([question("b")])) == [answer_to("b")]
        release.set()


async def test_closed_stream_releases_its_permit() -> None:
    engine = FakeEngine(workers=1)
    stream = engine.stream(question("a"))
    await to_thread.run_sync(next, stream)
    await to_thread.run_sync(stream.close)  # type: ignore[attr-defined]
    assert texts(engine.infer([question("b")])) == [answer_to("b")]


async def test_closed_blocking_iteration_cancels_its_rows() -> None:
    engine = FakeEngine(lambda text, _: None if text == "a" else anyio.sleep_forever(), workers=2)
    rows = engine.infer_iter([question("a"), question("b"), question("c")])
    index, _ = await to_thread.run_sync(next, rows)
    assert index == 0
    await to_thread.run_sync(rows.close)  # type: ignore[attr-defined]
    assert not engine.in_flight
    assert texts(engine.infer([question("a")])) == [answer_to("a")]


def test_source_of_a_blocking_iteration_may_be_endless() -> None:
    rows = FakeEngine().infer_iter(question(str(n)) for n in itertools.count())
    found = [outcome for _, outcome in itertools.islice(rows, 10)]
    assert all(isinstance(outcome, Conversation) for outcome in found)


SCRIPT = """
    import sys
    sys.path.insert(0, {repository!r})
    from tests.fakes import FakeEngine, question
    engine = FakeEngine()
    print(engine.infer([question("a"), question("b")])[1].messages[-1].content)
"""


def run_script(code: str) -> subprocess.CompletedProcess[str]:
    code = textwrap.dedent(code).format(repository=str(REPOSITORY))
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)


def test_script_that_closes_nothing_exits_at_once_without_a_warning() -> None:
    done = run_script(SCRIPT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "answer to b\n", "")


def test_interrupt_cancels_the_work() -> None:
    code = """
        import os, signal, sys, threading
        sys.path.insert(0, {repository!r})
        import anyio
        from tests.fakes import FakeEngine, questions
        # A process that a shell starts in the background ignores SIGINT, and so do its children.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        asked = threading.Event()
        def never(*_):
            asked.set()
            return anyio.sleep_forever()
        engine = FakeEngine(never)
        def interrupt():
            asked.wait()
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt, daemon=True).start()
        try:
            engine.infer(questions(2))
        except KeyboardInterrupt:
            print("interrupted", engine.in_flight)
    """
    done = run_script(code)
    assert (done.stdout, done.stderr) == ("interrupted 0\n", "")


def test_all_engines_share_one_portal_thread() -> None:
    FakeEngine().infer([question("a")])
    FakeEngine().infer([question("a")])
    assert sum(thread.name == "asyncinfer-sync" for thread in threading.enumerate()) == 1


@pytest.mark.parametrize("delay", [0.0, 0.3])
def test_blocking_twin_works_in_a_thread_that_outlives_the_main_thread(delay: float) -> None:
    done = run_script(
        """
        import sys, threading, time, anyio
        sys.path.insert(0, {repository!r})
        from tests.fakes import FakeEngine, question
        engine = FakeEngine(lambda *_: anyio.sleep(0.3))
        engine.infer([question("first")])

        def work():
            time.sleep(DELAY)
            for _ in range(2):
                print(engine.infer([question("a")])[0].messages[-1].content)

        threading.Thread(target=work).start()
        """.replace("DELAY", str(delay))
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "answer to a\nanswer to a\n", "")


def test_forked_child_starts_a_new_portal() -> None:
    done = run_script(
        """
        import os, sys
        sys.path.insert(0, {repository!r})
        from tests.fakes import FakeEngine, question
        print(len(FakeEngine().infer([question("a")])), flush=True)
        child = os.fork()
        os.write(1, b"%d\\n" % len(FakeEngine().infer([question("b")])))
        if child:
            os.waitpid(child, 0)
        """
    )
    assert (done.returncode, done.stdout) == (0, "1\n1\n1\n")
