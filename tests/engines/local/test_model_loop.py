"""No row waits forever, whatever goes wrong in the model's thread."""

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
from asyncinfer.engines.local.model_loop import CommandQueue, ModelLoop, engine_failure
from asyncinfer.engines.local.stepper import Emit, Stepper
from asyncinfer.engines.local.watchdog import Watchdog, WatchdogTimeouts
from asyncinfer.errors import EngineDeadError, RequestError
from tests.engines.local.test_engine import Counter, CountingEngine, Hours, tasks_of


class StuckModel(Counter):
    """Is stuck after a step, or with `freeing` in `close`, until the test sets `release`."""

    def __init__(self, *, freeing: bool = False) -> None:
        self.permit = threading.Semaphore(0)
        super().__init__(self.permit)
        self.freeing, self.release, self.blocked = freeing, threading.Event(), threading.Event()

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
        self.release.wait()


class Panic(BaseException):
    """Extensions in Rust raise exceptions that are no subclass of Exception."""


async def test_results_from_before_a_stuck_step_are_delivered() -> None:
    hours, model, loaded = Hours(), StuckModel(), threading.Event()

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
    model.release.set()
    await engine.aclose()


async def test_rows_and_close_do_not_wait_for_a_stuck_close_of_the_model() -> None:
    hours, model = Hours(), StuckModel(freeing=True)
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
    model.release.set()


async def test_abandoned_loop_returns_new_rows_to_its_replacement() -> None:
    commands, events = CommandQueue(), asyncio.Queue[EngineEvent]()
    watchdog = Watchdog(WatchdogTimeouts(abandon_after=0.0))
    submission = Submission(0, CountingEngine().request("1"), asyncio.get_running_loop(), events.put_nowait)

    def abandon(loop: ModelLoop) -> None:
        assert watchdog.check()  # The abandoned loop then continues with its other commands.

    abandoned, replacement = ModelLoop(commands, watchdog), ModelLoop(commands, Watchdog())
    for command in (abandon, lambda loop: loop.accept(submission), ModelLoop.stop):
        commands.put(command)
    abandoned.run([Counter])
    replacement.take_over(ModelLoop(CommandQueue(), Watchdog()), engine_failure("stuck"))
    assert "stuck" in str(await events.get())


@pytest.mark.parametrize("error", [SystemExit(1), Panic("panicked")])
@pytest.mark.parametrize("loading", [True, False])
async def test_any_exception_of_the_model_fails_the_row(error: BaseException, loading: bool) -> None:
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


async def test_rows_fail_if_the_thread_of_the_model_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_stop_inside_a_watchdog_call_does_not_deadlock() -> None:
    """A garbage collection inside `begin` may finalize the engine, which calls `stop`."""
    times = iter(range(3))

    def now() -> float:
        if (time := next(times)) == 0:
            watchdog.stop()
        return float(time)

    watchdog = Watchdog(now=now)
    thread = threading.Thread(target=watchdog.begin, args=("a step",), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_process_gets_an_error_and_can_load_the_model_again() -> None:
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
    first, error, last = done.stdout.splitlines()
    assert (first, last, done.stderr) == ("1 ", "1 2 ", "")
    assert "forked" in error
