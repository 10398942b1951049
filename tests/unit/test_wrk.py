"""The load generator's command line and its report, as wrk 4.1.0 printed it."""

from __future__ import annotations

import pytest

from unibeam_nb.bench.probes.wrk import Load, command, parse
from unibeam_nb.errors import BenchError, UsageError

REPORT = """\
Running 2s test @ http://127.0.0.1:18099/
  1 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     5.16ms    4.47ms  33.63ms   83.75%
    Req/Sec   849.95    442.28     1.79k    60.00%
  Latency Distribution
     50%    3.57ms
     75%  732.00us
     90%   11.27ms
     99%    1.58s
  1705 requests in 2.01s, 865.82KB read
{}Requests/sec:    846.54
Transfer/sec:    429.88KB
"""

SILENT = """\
Running 1s test @ http://127.0.0.1:18099/
  1 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     0.00us    0.00us   0.00us    -nan%
    Req/Sec     0.00      0.00     0.00      -nan%
  Latency Distribution
     50%    0.00us
     75%    0.00us
     90%    0.00us
     99%    0.00us
  0 requests in 1.00s, 0.00B read
  Socket errors: connect 0, read 3, write 2750, timeout 0
Requests/sec:      0.00
Transfer/sec:       0.00B
"""


def test_a_report_is_read_in_seconds() -> None:
    answers = parse(REPORT.format(""))
    assert (answers.count, answers.seconds, answers.rate, answers.errors) == (1705, 2.01, 846.54, 0)
    assert answers.latency == pytest.approx({50: 0.00357, 75: 0.000732, 90: 0.01127, 99: 1.58})


def test_bad_answers_and_broken_connections_are_errors() -> None:
    told = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 1705\n"
    assert parse(REPORT.format(told)).errors == 1715


def test_silence_is_a_report_too() -> None:
    answers = parse(SILENT)
    assert (answers.count, answers.rate, answers.errors) == (0, 0.0, 2753)


def test_anything_else_is_no_report() -> None:
    with pytest.raises(BenchError) as caught:
        parse("unable to connect to 127.0.0.1:8080 Connection refused\n")
    assert caught.value.message == "The report of wrk cannot be read."
    assert caught.value.details == ("unable to connect to 127.0.0.1:8080 Connection refused",)


def test_the_load_is_fixed_and_comes_from_one_thread() -> None:
    words = command("/usr/bin/wrk", "http://127.0.0.1:8080/", Load(5, 8, 1), 5)
    assert " ".join(words) == ("/usr/bin/wrk --threads 1 --connections 8 --duration 5s --timeout 10s --latency "
                               "http://127.0.0.1:8080/")


@pytest.mark.parametrize("values", [(0, 8, 1), (601, 8, 1), (5, 0, 1), (5, 1001, 1), (5, 8, -1)])
def test_a_load_is_bounded(values: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError) as caught:
        Load(*values)
    assert caught.value.message == "That load makes no sense."
