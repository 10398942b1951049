"""Marks are read from whole console lines with this boot's nonce, and from nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.machine.marks import MarkReader, code_of, memory_of, new_nonce, with_kernel
from unibeam_nb.model import Mark

NONCE = "0123456789abcdef"


def reader() -> MarkReader:
    return MarkReader(NONCE, 100.0)


def test_a_mark_carries_host_time_since_spawn_and_the_machines_own_clock() -> None:
    assert reader().feed(f"\r\n@unibeam {NONCE} beam 1500000000\r\n".encode(), 102.5) == [Mark("beam", 2.5, 1.5)]


def test_a_mark_may_follow_other_text_on_its_line() -> None:
    assert [m.name for m in reader().feed(f"Eshell V13 @unibeam {NONCE} app 1 memory=5\n".encode(), 101.0)] == ["app"]


def test_a_mark_with_another_nonce_is_an_applications_forgery() -> None:
    assert reader().feed(b"@unibeam ffffffffffffffff app 1\n", 101.0) == []


def test_half_a_line_is_not_read_before_it_is_whole() -> None:
    marks = reader()
    assert marks.feed(f"@unibeam {NONCE} app 12".encode(), 101.0) == []
    assert marks.feed(b"34000000000 memory=77\r", 102.0) == [Mark("app", 2.0, 1234.0)]
    assert memory_of(marks.values) == 77


def test_the_first_occurrence_counts() -> None:
    marks = reader()
    marks.feed(f"@unibeam {NONCE} exit 1 code=3\n".encode(), 101.0)
    assert marks.feed(f"@unibeam {NONCE} exit 2 code=0\n".encode(), 105.0) == []
    assert (marks.marks["exit"].at, code_of(marks.values)) == (1.0, 3)


def test_a_name_that_is_no_mark_is_passed_over() -> None:
    assert reader().feed(f"@unibeam {NONCE} lunch 1\n".encode(), 101.0) == []


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    marks = reader()
    for _ in range(64):
        marks.feed(b"x" * 65536, 101.0)
    assert len(marks._rest) <= 65536


@given(st.lists(st.integers(min_value=1, max_value=30), max_size=40))
def test_marks_do_not_depend_on_how_the_bytes_arrive(cuts: list[int]) -> None:
    text = f"boot\r\n\r\n@unibeam {NONCE} beam 10\r\nnoise @unibeam {NONCE} app 20 memory=9\r\nend".encode()
    marks, start = reader(), 0
    for cut in [*cuts, len(text)]:
        marks.feed(text[start:start + cut], 101.0)
        start += cut
    assert list(marks.marks) == ["beam", "app"]
    assert marks.values == {"memory": "9"}


def test_the_kernel_began_when_its_own_clock_was_zero() -> None:
    found = with_kernel({"spawn": Mark("spawn", 0.0), "vmm": Mark("vmm", 0.2), "init": Mark("init", 3.0, 2.5)})
    assert found["kernel"] == Mark("kernel", 0.5, 0.0)
    assert list(found) == ["spawn", "vmm", "kernel", "init"]


def test_the_kernel_never_began_before_its_machine_did() -> None:
    assert with_kernel({"vmm": Mark("vmm", 0.4), "init": Mark("init", 3.0, 2.9)})["kernel"].at == 0.4


def test_a_container_has_no_kernel_mark() -> None:
    assert "kernel" not in with_kernel({"spawn": Mark("spawn", 0.0), "beam": Mark("beam", 0.3, 5000.0)})


def test_nonces_are_sixteen_hex_digits_and_new() -> None:
    assert len({new_nonce() for _ in range(100)}) == 100
    assert all(len(n) == 16 and int(n, 16) >= 0 for n in [new_nonce()])


def test_a_counted_machine_is_timed_by_its_own_clock_from_the_moment_it_is_switched_on() -> None:
    marks = MarkReader(NONCE, 100.0, {"spawn": Mark("spawn", 0.0), "vmm": Mark("vmm", 0.0)}, counted=True)
    marks.feed(f"@unibeam {NONCE} init 200000000 tsc=300000000\n@unibeam {NONCE} app 700000000\n".encode(), 123.0)
    found = with_kernel(marks.marks)
    assert {name: round(mark.at, 6) for name, mark in found.items()} == {
        "spawn": 0.0, "vmm": 0.0, "kernel": 0.1, "init": 0.3, "app": 0.8}
    assert marks.feed(f"@unibeam {NONCE} exit 900000000 code=0\n".encode(), 999.0)[0].at == pytest.approx(1.0)
