"""How often the intervals hold a truth that is known, over thousands of simulated experiments.

The simulated host: boot times are log-normal (6 %), one boot in twenty is an outlier (up to several times as long),
and a whole block is slow or fast together (15 %). The seed is fixed, so a run gives the same counts every time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from unibeam_nb.analysis.compare import shift_bounds, shift_ratio
from unibeam_nb.analysis.intervals import difference_p, holm, median_bounds, ratio_interval, superiority

SIZES = (10, 15, 30)
EXPERIMENTS = 4000

pytestmark = pytest.mark.slow


def blocks(chance: np.random.Generator, experiments: int, n: int, arms: int = 2) -> list[Any]:
    """Boot times of so many arms, each of shape (experiments, blocks); their medians are all the same."""
    mood = np.exp(0.15 * chance.standard_normal((experiments, n)))
    made = []
    for _ in range(arms):
        each = np.exp(0.06 * chance.standard_normal((experiments, n)))
        late = np.where(chance.random((experiments, n)) < 0.05, 1 + chance.exponential(0.6, (experiments, n)), 1.0)
        made.append(mood * each * late)
    return made


TRUE_MEDIAN = float(np.median(blocks(np.random.default_rng(99), 1, 4_000_000, 1)[0]))


def covered(bounds: tuple[Any, Any], truth: float) -> float:
    low, high = bounds
    return float(((low <= truth) & (truth <= high)).mean())


@pytest.mark.parametrize("n", SIZES)
def test_the_interval_of_a_median_holds_it_in_95_of_100_experiments(n: int) -> None:
    boots, = blocks(np.random.default_rng(n), EXPERIMENTS, n, 1)
    assert 0.93 <= covered(median_bounds(np.sort(boots, axis=1)), TRUE_MEDIAN) <= 0.97


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("truth", [1.0, 3.0])
def test_the_interval_of_a_ratio_holds_it_in_95_of_100_experiments(n: int, truth: float) -> None:
    a, b = blocks(np.random.default_rng(100 + n), EXPERIMENTS, n)
    low, high = median_bounds(np.sort(np.log(truth * a) - np.log(b), axis=1))
    assert 0.93 <= covered((np.exp(low), np.exp(high)), truth) <= 0.97
    one = ratio_interval((truth * a[0]).tolist(), b[0].tolist())
    assert (one.low, one.high) == pytest.approx((np.exp(low[0]), np.exp(high[0]))), "the same as for one experiment"


@pytest.mark.parametrize("n", SIZES)
def test_the_probability_of_being_less_is_held_on_average_over_all_truths(n: int) -> None:
    """A share of n blocks has n + 1 values only, so a single truth is held more or less often; exactly counted."""
    found = [superiority([1.0] * won + [3.0] * (n - won), [2.0] * n) for won in range(n + 1)]
    low, high = (np.array([getattr(one, end) for one in found]) for end in ("low", "high"))
    truths = np.linspace(0.02, 0.98, 97)
    held = [float(stats.binom.pmf(np.arange(n + 1), n, truth)[(low <= truth) & (truth <= high)].sum())
            for truth in truths]
    assert 0.93 <= np.mean(held) <= 0.97


def test_bca_is_not_used_because_it_holds_the_truth_too_seldom() -> None:
    """Why the docstring says so; the day this fails, the ratio of the medians may come back."""
    n, chance = 10, np.random.default_rng(5)
    a, b = blocks(chance, 1000, n)
    found = stats.bootstrap((a, b), lambda x, y, axis: np.median(x, axis=axis) / np.median(y, axis=axis), axis=-1,
                            paired=True, n_resamples=499, method="BCa", rng=chance).confidence_interval
    assert covered((found.low, found.high), 1.0) < 0.93


@pytest.mark.parametrize("n", SIZES)
def test_an_arm_against_itself_differs_in_5_of_100_experiments_at_most(n: int) -> None:
    a, b = blocks(np.random.default_rng(300 + n), EXPERIMENTS, n)
    logs = np.log(a) - np.log(b)
    low, high = median_bounds(np.sort(logs, axis=1))
    p = stats.wilcoxon(logs, axis=1, method="exact").pvalue
    assert float(p[0]) == difference_p(a[0].tolist(), b[0].tolist())
    false = ((low > 0) | (high < 0)) & (p <= 0.05)
    assert 0.02 <= false.mean() <= 0.05, "and not by being blind"


def test_a_family_of_five_equal_arms_holds_a_difference_in_5_of_100_experiments_at_most() -> None:
    n, families = 15, 2000
    base, *arms = blocks(np.random.default_rng(6), families, n, 6)
    logs = [np.log(arm) - np.log(base) for arm in arms]
    outside = []
    for one in logs:
        low, high = median_bounds(np.sort(one, axis=1))
        outside.append((low > 0) | (high < 0))
    p = np.array([stats.wilcoxon(one, axis=1, method="exact").pvalue for one in logs])
    false = 0
    for family in range(families):
        adjusted = holm(p[:, family].tolist())
        false += any(is_out[family] and one <= 0.05 for is_out, one in zip(outside, adjusted, strict=True))
    uncorrected = float((np.array(outside) & (p <= 0.05)).any(axis=0).mean())
    assert false / families <= 0.05 < uncorrected


@pytest.mark.parametrize(("m", "n"), [(10, 10), (15, 30), (30, 30)])
def test_the_ratio_of_two_experiments_is_held_too(m: int, n: int) -> None:
    chance = np.random.default_rng(7 + m)
    (a,), (b,) = blocks(chance, EXPERIMENTS, m, 1), blocks(chance, EXPERIMENTS, n, 1)
    logs = np.sort((np.log(2.0 * a)[:, :, None] - np.log(b)[:, None, :]).reshape(EXPERIMENTS, -1), axis=1)
    low, high = shift_bounds(logs, m, n)
    assert 0.93 <= covered((np.exp(low), np.exp(high)), 2.0) <= 0.97
    one = shift_ratio((2.0 * a[0]).tolist(), b[0].tolist())
    assert (one.low, one.high) == pytest.approx((np.exp(low[0]), np.exp(high[0])))
