"""Several copies at once: how many fit, that none is left, and what their figures are made of."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence

import pytest

from unibeam_nb.bench.probes import density
from unibeam_nb.bench.probes.density import Host, Need, all_answer, end, figures, read_host, refuse_excess, together
from unibeam_nb.errors import BenchError, Cancelled, MachineError
from unibeam_nb.machine.proc import ProcessId
from unibeam_nb.model import Memory

MEMINFO = """\
MemTotal:       24683840 kB
MemFree:        23398400 kB
MemAvailable:   23973376 kB
AnonPages:        300000 kB
Mapped:           150000 kB
SUnreclaim:        40000 kB
KernelStack:        3000 kB
PageTables:         5000 kB
HugePages_Total:       0
"""


class Copy:
    """A machine that counts how many of it run."""

    running: set[int] = set()

    def __init__(self, number: int, seconds: float = 0.0, alive: bool = True) -> None:
        self.name, self.ports, self.alive = f"copy-{number}", {8080: 1}, alive
        self._number, self._seconds = number, seconds
        Copy.running.add(number)

    def memory(self) -> Memory:
        return Memory(10 + self._number, 5)

    def processes(self) -> Sequence[ProcessId]:
        return ()

    def stop(self, *, grace: float | None = None) -> None:
        time.sleep(self._seconds)
        Copy.running.discard(self._number)


@pytest.fixture(autouse=True)
def _none_is_left() -> object:
    Copy.running.clear()
    yield
    assert not Copy.running


def test_the_hosts_memory_is_read() -> None:
    assert read_host(MEMINFO) == Host(23973376 * 1024, 450000 * 1024, 48000 * 1024)
    assert read_host().available > 0


def test_copies_need_what_the_first_needs_and_what_each_writes_to() -> None:
    need = Need(60_000_000, 20_000_000)
    assert [need.of(copies) for copies in (1, 2, 32)] == [60_000_000, 80_000_000, 680_000_000]
    assert need.fitting(density.SPARE + 59_999_999) == 0
    assert need.fitting(density.SPARE + 60_000_000) == 1
    assert need.fitting(density.SPARE + 119_999_999) == 3
    assert all(need.of(need.fitting(room)) <= room - density.SPARE for room in range(400 << 20, 2 << 30, 77_777_777))


def test_too_many_are_refused_with_the_number_that_would_fit() -> None:
    need = Need(60_000_000, 20_000_000)
    room = density.SPARE + 200_000_000
    refuse_excess("linux@qemu", 8, need, room)
    with pytest.raises(BenchError) as caught:
        refuse_excess("linux@qemu", 32, need, room)
    assert caught.value.message == "32 copies of linux@qemu need about 680 MB, and this host has 200 MB for them."
    assert caught.value.hint == "About 8 would fit: --density 1,8."
    with pytest.raises(BenchError) as caught:
        refuse_excess("linux@qemu", 2, need, density.SPARE + 61_000_000)
    assert caught.value.hint == "Not even two would fit."


def test_every_copy_is_ended_also_when_one_does_not_start() -> None:
    def start(number: int) -> Copy:
        if number == 3:
            raise MachineError("No luck.")
        return Copy(number)

    with together(Copy, 4) as machines:
        assert [m.name for m in machines] == ["copy-0", "copy-1", "copy-2", "copy-3"]
        assert len(Copy.running) == 4
    assert not Copy.running
    with pytest.raises(MachineError), together(start, 5):
        pass


def test_every_copy_is_ended_when_the_user_stops() -> None:
    with pytest.raises(Cancelled), together(Copy, 3):
        raise Cancelled()


def test_an_interrupt_while_ending_waits_for_the_last_one() -> None:
    machines = [Copy(number, 0.3) for number in range(4)]
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        end(machines)
    assert not Copy.running


def test_a_host_that_runs_short_of_memory_gets_no_further_copy() -> None:
    room = iter([1 << 30, 1 << 30, 200_000_000])
    with pytest.raises(BenchError) as caught, together(Copy, 5, available=lambda: next(room)):
        pass
    assert caught.value.message == "2 copies leave this host 200 MB of memory."


def test_one_that_does_not_answer_any_more_is_named() -> None:
    machines = [Copy(0), Copy(1, alive=False)]
    with pytest.raises(BenchError) as caught:
        all_answer(machines, None)
    assert caught.value.message == "copy-1, one of 2 copies, does not answer any more."
    end(machines)


def test_figures_are_of_all_and_of_each() -> None:
    with together(Copy, 4) as machines:
        memory = density.occupied(machines)
    assert memory == Memory(46, 20)
    assert figures(memory, 4, Host(9, 100, 10), Host(5, 170, 12), 0.5) == {
        "copies_count": 4, "total_bytes": 66, "each_bytes": 16.5, "overhead_bytes": 20, "host_mapped_bytes": 70,
        "host_kernel_bytes": 2, "all_up_s": 0.5}
