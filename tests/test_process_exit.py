"""Scripts that leave streams and engines open exit without output and with their own exit code.

The time limit only keeps a script that hangs from hanging the tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

pytestmark = pytest.mark.slow  # Each test starts a process.
REPOSITORY = Path(__file__).parent.parent
HANG_GUARD = 120

PRELUDE = """
import asyncio, atexit, gc, logging, os, sys, threading, time
import anyio
from tests.fakes import FakeEngine, question, questions
from tests.engines.local.test_engine import CountingEngine
logging.getLogger("asyncio").setLevel("ERROR")  # The slow steps that its debug mode reports are no failure.
def engine_of(kind):
    return CountingEngine() if kind == "local" else FakeEngine()
engine, chat = engine_of(sys.argv[1]), question("3" if sys.argv[1] == "local" else "a")
endless = question("ever")
def text(deltas):
    return "".join(delta.content for delta in deltas).strip()
"""


def run(script: str, kind: str = "fake") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", PRELUDE + dedent(script), kind]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, capture_output=True, text=True, timeout=HANG_GUARD, cwd=REPOSITORY, env=environment)


kinds = pytest.mark.parametrize("kind", ["fake", "local"])
EXPECTED = {"fake": "answer to a", "local": "1 2 3"}


@kinds
@pytest.mark.parametrize(
    ("leave", "code"),
    [
        ("for delta in engine.stream(endless): break", 0),
        ("stream = engine.stream(endless)\nfor delta in stream: break", 0),
        ("stream = engine.stream(endless)\nnext(stream)", 0),
        ("stream = engine.stream(endless)\nfor delta in stream: sys.exit(3)", 3),
        ("stream = engine.stream(endless)\nfor delta in stream: raise SystemExit('')", 1),
        ("stream = engine.stream(endless)\nnext(stream)\nasyncio.run(asyncio.sleep(0))", 0),
        ("engine.infer([chat])\nstream = engine.stream(endless)\nnext(stream)\nengine.close()", 0),
        ("streams = [engine.stream(endless) for _ in range(3)]\nfor stream in streams: next(stream)", 0),
        ("stream = engine.stream(endless)\nnext(stream)\ncycle = [stream]\ncycle.append(cycle)\ndel stream, cycle", 0),
    ],
)
def test_script_with_an_open_blocking_stream_exits(kind: str, leave: str, code: int) -> None:
    done = run(leave, kind)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (code, "", "")


@pytest.mark.parametrize(
    "call",
    [
        "engine.infer(rows, on_progress=stop)",
        "list(engine.infer_iter(rows, on_progress=stop))",
        "asyncio.run(engine.ainfer(rows, on_progress=stop))",
    ],
)
def test_script_whose_callback_exits_has_its_exit_code(call: str) -> None:
    done = run(f"rows = questions(3)\ndef stop(progress): sys.exit(3)\n{call}")
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")


@kinds
def test_error_in_the_body_of_a_blocking_stream_keeps_its_traceback(kind: str) -> None:
    done = run("stream = engine.stream(endless)\nfor delta in stream: raise ValueError('my own')", kind)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("ValueError: my own")
    assert "asyncinfer" not in done.stderr


@kinds
@pytest.mark.parametrize("use", ["infer([chat])", "stream(chat)", "list_models()"])
def test_script_whose_destructor_closes_its_engine_exits(kind: str, use: str) -> None:
    script = f"""
        class Session:
            def __init__(self):
                self.engine = engine
            def __del__(self):
                self.engine.close()
        session = Session()
        list(session.engine.{use})
        other = Session()
        del other
        gc.collect()
        cycle = Session()
        cycle.itself = cycle
        del cycle
        print("end")
    """
    done = run(script, kind)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


@kinds
def test_script_with_an_engine_that_only_a_destructor_uses_exits(kind: str) -> None:
    script = """
        class Session:
            def __del__(self):
                engine.close()
        session = Session()
    """
    done = run(script, kind)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@kinds
def test_engine_can_be_closed_in_an_exit_handler(kind: str) -> None:
    script = """
        stream = engine.stream(endless)
        next(stream)
        def leave():
            stream.close()
            engine.close()
            print("closed")
        atexit.register(leave)
    """
    done = run(script, kind)
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n", "")


@pytest.mark.parametrize("use", ["text(engine.stream(chat))", "engine.infer([chat])[0].messages[-1].content"])
@pytest.mark.parametrize("before", ["", "engine.infer([chat])"])
def test_engine_can_be_used_in_an_exit_handler(use: str, before: str) -> None:
    script = f"""
        {before}
        atexit.register(lambda: print({use}))
    """
    done = run(script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "answer to a\n", "")


@kinds
def test_thread_that_outlives_the_main_thread_reads_its_stream_to_the_end(kind: str) -> None:
    script = """
        started = threading.Event()
        def work():
            stream = engine.stream(chat)
            parts = [next(stream)]
            started.set()
            threading.main_thread().join()
            parts += stream
            print(text(parts))
            print(engine.infer([chat])[0].messages[-1].content.strip())
        threading.Thread(target=work).start()
        started.wait()
    """
    done = run(script, kind)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{EXPECTED[kind]}\n" * 2, "")


@kinds
def test_script_with_a_thread_that_leaves_its_stream_open_exits(kind: str) -> None:
    script = """
        kept = threading.local()
        def work():
            kept.stream = engine.stream(endless)
            next(kept.stream)
            started.release()
            threading.main_thread().join()
        started = threading.Semaphore(0)
        for _ in range(3):
            threading.Thread(target=work).start()
        for _ in range(3):
            started.acquire()
    """
    done = run(script, kind)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@kinds
@pytest.mark.parametrize("use", ["engine.infer([endless])", "for _ in engine.stream(endless): time.sleep(60)"])
def test_script_with_a_working_daemon_thread_exits(kind: str, use: str) -> None:
    script = f"""
        if sys.argv[1] == "fake":
            engine = FakeEngine(lambda *_: anyio.sleep_forever())
        def work():
            {use}
        threading.Thread(target=work, daemon=True).start()
        while not (engine._thread if sys.argv[1] == "local" else engine.in_flight):
            time.sleep(0.001)
        print("end", flush=True)
    """
    done = run(script, kind)
    assert (done.returncode, done.stdout) == (0, "end\n")
    assert "Fatal" not in done.stderr


@kinds
def test_script_with_a_running_loop_as_in_a_notebook_exits(kind: str) -> None:
    script = """
        async def cell():
            global stream, deltas
            stream = engine.stream(chat)
            next(stream)
            deltas = engine.astream(chat)
            await anext(deltas)
            print(len(engine.infer([chat])))
        asyncio.run(cell())
    """
    done = run(script, kind)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore")
def test_forked_child_does_not_affect_the_stream_of_its_parent() -> None:
    script = """
        import warnings
        warnings.simplefilter("ignore")  # Python 3.12 warns about forks in a process with threads.
        async def later(*_):
            await anyio.sleep(0)
        stream = engine.stream(chat)
        first = next(stream)
        if (child := os.fork()) == 0:
            try:
                next(stream)
            except RuntimeError as error:
                print("child:", error, flush=True)
            stream.close()
            print("child:", text(engine.stream(chat)), flush=True)
            sys.exit(5)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        print(text([first, *stream]))
    """
    done = run(script)
    assert done.stderr == ""
    told, own, code, rest = done.stdout.splitlines()
    assert "forked" in told
    assert (own, code, rest) == ("child: answer to a", "5", "answer to a")


@kinds
def test_destructor_on_the_threads_of_the_package_does_not_wait_for_them(kind: str) -> None:
    """The garbage collector may run a destructor on any thread, for example on the thread of a model."""
    script = """
        class Session:
            def __init__(self):
                self.itself, self.engine = self, engine
            def __del__(self):
                self.engine.close()
                print(threading.current_thread().name)
        def collect(*_):
            session = Session()
            del session
            gc.collect()
        gc.disable()
        engine.infer([chat], on_progress=collect)
        if sys.argv[1] == "local":
            from tests.engines.local.test_engine import Counter
            class Collecting(Counter):
                def step(self, emit):
                    collect()
                    super().step(emit)
            engine = CountingEngine(Collecting)
            try:
                engine.infer([chat])
            except Exception as error:
                print(type(error).__name__)
    """
    done = run(script, kind)
    assert (done.returncode, done.stderr) == (0, "")
    assert "asyncinfer-sync" in done.stdout
    assert kind == "fake" or "asyncinfer-model" in done.stdout


@kinds
def test_blocking_call_on_the_loop_of_the_blocking_calls_is_an_error(kind: str) -> None:
    script = """
        def ask(_):
            engine.infer([chat])
        try:
            engine.infer([chat], on_progress=ask)
        except RuntimeError as error:
            print(error)
    """
    done = run(script, kind)
    assert "await the async method" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")
