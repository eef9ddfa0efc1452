"""The blocking twins: in a script, in threads, inside a running loop, and at the program's end."""

from __future__ import annotations

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

REPOSITORY = Path(__file__).parent.parent


def texts(conversations: list[Conversation]) -> list[object]:
    return [c.messages[-1].content for c in conversations]


def test_every_method_has_its_twin(tmp_path: Path) -> None:
    engine = FakeEngine()
    assert texts(engine.infer(questions(3))) == [answer_to(f"question {i}") for i in range(3)]
    assert not engine.infer_partial(questions(2)).has_failures
    config = InferenceConfig(
        input_path=str(write_jsonl(tmp_path / "in.jsonl", questions(4))), output_path=str(tmp_path / "out.jsonl")
    )
    assert engine.run(config).completed == 4
    assert "".join(delta.content for delta in engine.stream(question("hi"))) == answer_to("hi")
    assert engine.list_models() == ["fake"]
    engine.close()


def test_errors_come_through() -> None:
    def script(_: str, __: int) -> None:
        raise rejection()

    with pytest.raises(InferenceFailedError):
        FakeEngine(script).infer(questions(1))


def test_threads_share_an_engine() -> None:
    engine = FakeEngine(lambda *_: anyio.lowlevel.checkpoint(), workers=4)
    with ThreadPoolExecutor(8) as pool:
        answered = list(pool.map(lambda i: texts(engine.infer([question(f"{i}")])), range(24)))
    assert answered == [[answer_to(f"{i}")] for i in range(24)]
    assert engine.peak <= 4


async def test_inside_a_running_loop() -> None:
    assert texts(FakeEngine().infer([question("a")])) == [answer_to("a")]


async def test_on_an_engine_that_a_task_of_the_same_loop_is_using() -> None:
    """The loop is blocked by the twin, and its task holds the only permit there: the twin must not need it."""
    release = anyio.Event()
    engine = FakeEngine(lambda text, _: release.wait() if text == "waits" else None, workers=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine.ainfer, [question("waits")])
        while not engine.in_flight:
            await anyio.lowlevel.checkpoint()
        assert texts(engine.infer([question("b")])) == [answer_to("b")]
        release.set()


async def test_an_abandoned_stream_gives_its_permit_back() -> None:
    engine = FakeEngine(workers=1)
    stream = engine.stream(question("a"))
    await to_thread.run_sync(next, stream)
    await to_thread.run_sync(stream.close)  # type: ignore[attr-defined]
    assert texts(engine.infer([question("b")])) == [answer_to("b")]


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


def test_a_script_that_closes_nothing_exits_at_once_and_silently() -> None:
    done = run_script(SCRIPT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "answer to b\n", "")


def test_an_interrupt_cancels_the_work() -> None:
    code = """
        import os, signal, sys, threading
        sys.path.insert(0, {repository!r})
        import anyio
        from tests.fakes import FakeEngine, questions
        # A process that is started in the background by a shell ignores SIGINT, and its children too.
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


def test_the_portal_is_one_thread_for_all() -> None:
    FakeEngine().infer([question("a")])
    FakeEngine().infer([question("a")])
    assert sum(thread.name == "asyncinfer-sync" for thread in threading.enumerate()) == 1


@pytest.mark.parametrize("delay", [0.0, 0.3])
def test_a_thread_goes_on_after_the_main_thread(delay: float) -> None:
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


def test_a_forked_child_has_a_portal_of_its_own() -> None:
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
