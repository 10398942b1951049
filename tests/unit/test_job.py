"""Work on a thread of its own: its end, its stop, and who hears it."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from unibeam_nb import process
from unibeam_nb.errors import Cancelled
from unibeam_nb.job import Job
from unibeam_nb.progress import StepEvent, checkpoint, hurried, shielded, step


def turn() -> None:
    while True:
        time.sleep(0.005)
        checkpoint()


def test_a_job_is_awaited_while_the_loop_goes_on() -> None:
    ticks = 0

    async def cell() -> int:
        nonlocal ticks

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        beside = asyncio.create_task(tick())
        value = await Job("work", lambda: time.sleep(0.2) or 42).start()
        beside.cancel()
        return value

    assert asyncio.run(cell()) == 42
    assert ticks > 3


def test_whoever_is_stopped_awaiting_a_job_stops_it() -> None:
    job = Job("work", turn)

    async def cell() -> None:
        await asyncio.wait_for(job.start(), 0.1)  # type: ignore[arg-type] # a Job is awaitable

    with pytest.raises(TimeoutError):
        asyncio.run(cell())
    assert job.wait(2)
    assert job.state == "stopped"


def test_a_job_that_is_over_can_still_be_awaited() -> None:
    job = Job("work", lambda: "done").start()
    assert job.result(5) == "done"

    async def cell() -> str:
        return await job

    assert asyncio.run(cell()) == "done"
    assert repr(job).startswith("<Job work: done, ")


def test_its_error_is_raised_where_the_result_is_asked_for() -> None:
    job = Job("work", lambda: 1 / 0).start()
    with pytest.raises(ZeroDivisionError):
        job.result(5)
    assert job.state == "failed"
    assert isinstance(job.error, ZeroDivisionError)


def test_a_result_that_is_not_there_yet_is_a_timeout() -> None:
    job = Job("work", turn).start()
    with pytest.raises(TimeoutError, match="work is not done yet"):
        job.result(0.01)
    job.cancel()
    assert job.wait(2)


def test_a_stop_ends_a_program_and_all_it_started_within_a_second(tmp_path: Path) -> None:
    stubborn = ("sh", "-c", "trap '' TERM; echo $$ >pid; while true; do sleep 0.05; done")
    job = Job("work", lambda: process.run(stubborn, cwd=tmp_path)).start()
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        time.sleep(0.01)
    asked = time.monotonic()
    job.cancel()
    with pytest.raises(Cancelled):
        job.result(5)
    assert time.monotonic() - asked < 2.0  # A second is promised; a busy host may add to it.
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_tidying_up_is_shielded_from_the_stop_and_knows_of_it() -> None:
    tidied: list[bool] = []

    def work() -> None:
        try:
            turn()
        finally:
            with shielded():
                checkpoint()
                process.run(("true",))
                tidied.append(hurried())

    job = Job("work", work).start()
    job.cancel()
    assert job.wait(5)
    assert tidied == [True]


def test_listeners_hear_every_step_on_the_works_thread() -> None:
    heard: list[tuple[StepEvent, str]] = []

    def work() -> None:
        with step("one"), step("two"):
            pass

    job = Job("work", work)
    job.listen(lambda event: heard.append((event, threading.current_thread().name)))
    job.start().result(5)
    assert [(event.kind, event.title, name) for event, name in heard] == [
        (kind, title, "unibeam work") for kind, title in
        (("begin", "one"), ("begin", "two"), ("end", "two"), ("end", "one"))]


def test_outside_work_nobody_hurries() -> None:
    assert not hurried()
