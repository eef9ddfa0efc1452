"""What becomes of rows when the model's thread does not do as it should."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from textwrap import dedent

import pytest

from asyncinfer.engines.local.delivery import EngineEvent, Submission
from asyncinfer.engines.local.model_worker import Inbox, Worker, dead
from asyncinfer.engines.local.stepper import Emit, Stepper
from asyncinfer.engines.local.watchdog import Watchdog, WatchdogTimeouts
from asyncinfer.errors import EngineDeadError, RequestError
from tests.engines.local.test_engine import Counter, CountingEngine, Hours, tasks_of


class Stall(Counter):
    """Counts, and then does not come back from its step until it is let go; or, `freeing`, from its close."""

    def __init__(self, *, freeing: bool = False) -> None:
        self.permit = threading.Semaphore(0)
        super().__init__(self.permit)
        self.freeing, self.let_go, self.blocked = freeing, threading.Event(), threading.Event()

    def step(self, emit: Emit) -> None:
        super().step(emit)
        if not self.freeing:
            self.block()

    def close(self) -> None:
        if self.freeing:
            self.block()
        super().close()

    def block(self) -> None:
        self.blocked.set()
        self.let_go.wait()


class Panic(BaseException):
    """What extensions in Rust raise is no Exception."""


async def test_what_a_step_that_never_ends_had_to_tell_before_is_told() -> None:
    hours, model, loaded = Hours(), Stall(), threading.Event()

    def load() -> Stepper:
        loaded.wait()
        return model

    engine = CountingEngine(load, hours)
    finished, refused, running = await tasks_of(engine, "1", "refuse", "2")
    loaded.set()
    model.permit.release()
    await asyncio.to_thread(model.blocked.wait)
    hours.pass_by = True
    assert await finished == "1 "
    with pytest.raises(RequestError, match="not this one"):
        await refused
    with pytest.raises(EngineDeadError, match="stuck"):
        await running
    model.let_go.set()
    await engine.aclose()


async def test_rows_and_close_do_not_wait_for_a_model_that_is_never_freed() -> None:
    hours, model = Hours(), Stall(freeing=True)
    engine = CountingEngine(lambda: model, hours)
    (running,) = await tasks_of(engine, "ever")
    await asyncio.to_thread(model.stepping.acquire)
    engine.thread.stop()
    model.permit.release()
    await asyncio.to_thread(model.blocked.wait)
    hours.pass_by = True
    with pytest.raises(EngineDeadError, match="closed"):
        await running
    await engine.aclose()
    model.let_go.set()


async def test_what_a_thread_takes_after_it_was_given_up_goes_to_the_next() -> None:
    inbox, told = Inbox(), asyncio.Queue[EngineEvent]()
    pulse = Watchdog(WatchdogTimeouts(give_up_after=0.0))
    call = Submission(0, CountingEngine().request("1"), asyncio.get_running_loop(), told.put_nowait)

    def give_up(worker: Worker) -> None:
        assert pulse.look()  # Only now does the thread go on with its commands.

    given_up, next_one = Worker(inbox, pulse), Worker(inbox, Watchdog())
    for command in (give_up, lambda worker: worker.take(call), Worker.stop):
        inbox.put(command)
    given_up.run([Counter])
    next_one.take_over(Worker(Inbox(), Watchdog()), dead("stuck"))
    assert "stuck" in str(await told.get())


@pytest.mark.parametrize("error", [SystemExit(1), Panic("panicked")])
@pytest.mark.parametrize("loading", [True, False])
async def test_no_kind_of_exception_leaves_a_row_waiting(error: BaseException, loading: bool) -> None:
    class Panicking(Counter):
        def step(self, emit: Emit) -> None:
            raise error

    def load() -> Stepper:
        if loading:
            raise error
        return Panicking()

    async with CountingEngine(load) as engine:
        with pytest.raises(EngineDeadError, match="SystemExit|panicked"):
            await engine.answer("1")


async def test_no_thread_for_the_model_is_an_error_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "asyncinfer-model":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    async with CountingEngine() as engine:
        with pytest.raises(EngineDeadError, match="can't start new thread"):
            await engine.answer("1")
        monkeypatch.undo()
        await engine.aclose()
        assert await engine.answer("1") == "1 "


def test_an_engine_that_is_dropped_while_its_pulse_is_taken_does_not_wait_for_itself() -> None:
    """As a garbage collection may have it."""
    times = iter(range(3))

    def now() -> float:
        if (time := next(times)) == 0:
            pulse.stop()
        return float(time)

    pulse = Watchdog(now=now)
    thread = threading.Thread(target=pulse.begin, args=("a step",), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_is_told_that_the_model_stayed_behind() -> None:
    script = dedent(
        """
        import asyncio, os
        from tests.engines.local.test_engine import CountingEngine

        async def ask():
            try:
                print(await engine.answer("1"), flush=True)
            except Exception as error:
                print(error, flush=True)
                await engine.aclose()
                print(await engine.answer("2"), flush=True)
            await engine.aclose()

        engine = CountingEngine()
        print(asyncio.run(engine.answer("1")), flush=True)
        if (child := os.fork()) == 0:
            asyncio.run(ask())
        else:
            os.waitpid(child, 0)
        """
    )
    command = [sys.executable, "-c", script]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=root)
    first, told, last = done.stdout.splitlines()
    assert (first, last, done.stderr) == ("1 ", "1 2 ", "")
    assert "forked" in told
