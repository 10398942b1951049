"""Intervals that hold what they promise; every number that scipy also knows is held against scipy's."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy import stats

from unibeam_nb.analysis.intervals import (
    Interval,
    bca_ratio,
    blocks_needed,
    difference_p,
    holm,
    median_interval,
    ratio_interval,
    superiority,
)
from unibeam_nb.errors import BenchError


def boots(seed: int, count: int = 20, scale: float = 1.0) -> list[float]:
    return (scale * np.random.default_rng(seed).lognormal(0.0, 0.1, count)).tolist()


def test_the_interval_of_a_median_is_around_it() -> None:
    values = boots(1)
    found = median_interval(values)
    assert found == median_interval(values[::-1])
    assert found.value == float(np.median(values))
    assert found.low < found.value < found.high
    assert (found.n, found.kind) == (20, "95 %")


@pytest.mark.parametrize("n", [6, 7, 10, 15, 30, 31, 101])
def test_the_interval_lies_between_the_two_of_order_statistics_by_scipy(n: int) -> None:
    """The exact confidence of whole order statistics is binomial; scipy's quantile_test has the conservative pair."""
    values = sorted(boots(n, n))
    found = median_interval(values)
    wide = stats.quantile_test(values, q=stats.quantile_test(values, p=0.5).statistic, p=0.5).confidence_interval(0.95)
    k = values.index(wide.low)
    assert 1 - 2 * stats.binom.cdf(k, n, 0.5) >= 0.95 > 1 - 2 * stats.binom.cdf(k + 1, n, 0.5)
    assert values[k] <= found.low < values[k + 1]
    assert values[n - 2 - k] < found.high <= values[n - 1 - k]


def test_few_values_get_their_range_and_it_is_called_so() -> None:
    assert median_interval([3.0, 1.0, 2.0]) == Interval(2.0, 1.0, 3.0, 3)
    assert median_interval([3.0, 1.0, 2.0]).kind == "range"
    assert not median_interval([1.0] * 5).enough


def test_equal_values_have_a_point_for_an_interval() -> None:
    assert median_interval([2.0] * 10) == Interval(2.0, 2.0, 2.0, 10)
    assert ratio_interval([2.0] * 10, [1.0] * 10).value == pytest.approx(2.0)
    assert bca_ratio([2.0] * 10, [1.0] * 10, 1) == Interval(2.0, 2.0, 2.0, 10)


def test_no_value_has_no_median() -> None:
    with pytest.raises(BenchError, match="no sample to take a median of"):
        median_interval([])


def test_values_that_do_not_pair_up_are_refused() -> None:
    with pytest.raises(BenchError) as caught:
        ratio_interval([1.0, 2.0], [1.0])
    assert caught.value.message == "2 and 1 samples cannot be compared block by block."
    with pytest.raises(BenchError, match="A ratio needs positive values"):
        ratio_interval([1.0], [0.0])


def test_a_ratio_turned_round_has_the_interval_turned_round() -> None:
    a, b = boots(1), boots(2, scale=3.0)
    one, other = ratio_interval(a, b), ratio_interval(b, a)
    assert (1 / one.value, 1 / one.high, 1 / one.low) == pytest.approx((other.value, other.low, other.high))


def test_a_host_that_drifts_cancels_within_its_blocks() -> None:
    mood = np.linspace(1.0, 3.0, 20)
    a, b = 2.0 * mood * boots(1), mood * boots(2)
    mixed = b[np.random.default_rng(3).permutation(20)]
    within, across = ratio_interval(a.tolist(), b.tolist()), ratio_interval(a.tolist(), mixed.tolist())
    assert (within.high - within.low) * 3 < across.high - across.low
    assert within.low < 2.0 < within.high


def test_the_bca_interval_is_scipys() -> None:
    a, b = np.array(boots(5)), np.array(boots(6))
    found = bca_ratio(a.tolist(), b.tolist(), 7)
    theirs = stats.bootstrap((a, b), lambda x, y: np.median(x) / np.median(y), paired=True, vectorized=False,
                             method="BCa", n_resamples=4999, rng=np.random.default_rng(8)).confidence_interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), rel=0.02)
    assert found == bca_ratio(a.tolist(), b.tolist(), 7)
    assert found.value == float(np.median(a) / np.median(b))


@pytest.mark.parametrize("wins", [0, 3, 10, 19, 20])
def test_the_probability_of_being_less_has_wilsons_interval(wins: int) -> None:
    a, b = [1.0] * wins + [3.0] * (20 - wins), [2.0] * 20
    found = superiority(a, b)
    theirs = stats.binomtest(wins, 20).proportion_ci(method="wilson")
    assert found.value == wins / 20
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


def test_ties_count_half() -> None:
    assert superiority([1.0, 2.0], [2.0, 2.0]).value == 0.75


def test_the_test_of_a_difference_is_wilcoxons() -> None:
    a, b = boots(1), boots(2, scale=1.05)
    logs = np.log(a) - np.log(b)
    assert difference_p(a, b) == float(stats.wilcoxon(logs, method="exact").pvalue)
    assert difference_p([1.0] * 8, [1.0] * 8) == 1.0
    assert 0.001 < difference_p([1.0] * 10, [2.0] * 10) < 0.01, "ties, and no warning"


def test_holm_is_scipys_step_down_of_bonferroni() -> None:
    chance = random.Random(1)
    p = [chance.random() ** 3 for _ in range(9)]
    ordered = sorted(p)
    bound = [max(min(1.0, (9 - j) * ordered[j]) for j in range(i + 1)) for i in range(9)]
    assert holm(p) == [bound[ordered.index(one)] for one in p]
    assert holm([0.04]) == [0.04]
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_blocks_needed_are_enough_in_a_simulation() -> None:
    """A difference of 5 % under a noise of 10 % that 12 blocks do not show: as many as it says do, mostly."""
    chance = np.random.default_rng(1)
    needed = blocks_needed(Interval(1.05, 0.97, 1.136, 12))
    assert needed is not None
    assert 40 < needed < 80
    noise = (np.log(1.136 / 0.97) / 2) / (1.96 * 1.2533 / np.sqrt(12))
    shown = 0
    for _ in range(200):
        logs = np.log(1.05) + noise * chance.standard_normal(needed)
        found = ratio_interval(np.exp(logs).tolist(), [1.0] * needed)
        shown += not found.low <= 1 <= found.high
    assert 140 <= shown <= 185, "about 80 %"


@pytest.mark.parametrize("ratio", [Interval(1.0, 0.9, 1.1, 30), Interval(1.1, 0.9, 1.3, 4), Interval(1.1, 1.1, 1.1, 9)])
def test_nothing_is_needed_where_nothing_was_seen(ratio: Interval) -> None:
    assert blocks_needed(ratio) is None
