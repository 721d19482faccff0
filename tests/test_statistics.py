"""Every statistic of the monitors is scipy's, exactly from counts, and within the stated bound from a sketch."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats  # type: ignore[import-untyped]  # scipy ships no types
from scipy.spatial import distance  # type: ignore[import-untyped]  # scipy ships no types

from functions.monitoring import statistics
from functions.monitoring.sketch import Column, Tally

COUNT = st.integers(0, 5000)
PAIRS = st.lists(st.tuples(COUNT, COUNT), min_size=1, max_size=60).filter(lambda pairs: all(statistics.totals(pairs)))
NUMBERS = st.lists(
    st.floats(-1e6, 1e6, allow_subnormal=False) | st.integers(-300, 300).map(float), min_size=1, max_size=100
)
SHARES = st.tuples(st.integers(0, 3000), st.integers(1, 3000), st.integers(0, 3000), st.integers(1, 3000)).map(
    lambda drawn: (min(drawn[0], drawn[1]), drawn[1], min(drawn[2], drawn[3]), drawn[3])
)

PATIENT = settings(deadline=None)  # how long an example takes is the machine's affair


def cells(numbers: list[float]) -> list[tuple[float, int]]:
    """Exact cells."""
    values, counts = np.unique(numbers, return_counts=True)
    return list(zip(values.tolist(), counts.tolist(), strict=True))


# --- numbers ----------------------------------------------------------------------------------------------------------


# Only its statistic is used, not its p-value.
@pytest.mark.filterwarnings("ignore:ks_2samp. Exact calculation unsuccessful")
@PATIENT
@given(NUMBERS, NUMBERS)
def test_distances_of_exact_cells_are_scipys(before: list[float], now: list[float]) -> None:
    paired = statistics.paired(cells(before), cells(now))
    found = statistics.kolmogorov(statistics.counts(paired))
    assert found == pytest.approx(stats.ks_2samp(before, now, method="asymp").statistic, abs=1e-12)
    assert statistics.wasserstein(paired) == pytest.approx(stats.wasserstein_distance(before, now), rel=1e-9, abs=1e-9)


@pytest.mark.filterwarnings("ignore:ks_2samp. Exact calculation unsuccessful")
@PATIENT
@given(NUMBERS, NUMBERS, st.floats(-1e5, 1e5))
def test_distances_of_a_sketch_are_scipys_within_the_stated_bound(
    before: list[float], now: list[float], centre: float
) -> None:
    column = Column("x", "number", centre)
    sketches = []
    for numbers in (before, now):
        sketches.append(Tally(column))
        sketches[-1].add_numbers(numbers)
    first, second = (sketch.ordered() for sketch in sketches)
    paired = statistics.paired(first, second)
    held = max(max(here / len(before), there / len(now)) for _, here, there in paired)
    exact = stats.ks_2samp(before, now, method="asymp").statistic
    assert exact - held - 1e-12 <= statistics.kolmogorov(statistics.counts(paired)) <= exact + 1e-12
    # A cell is 1/128 of its distance from the centre wide, and a float32 is 2**-24 of itself away from the number.
    width = sum(np.mean([abs(value - centre) for value in numbers]) for numbers in (before, now)) * (2**-7 + 2**-22)
    assert statistics.wasserstein(paired) == pytest.approx(
        stats.wasserstein_distance(before, now), abs=float(width) + 1e-9
    )


@PATIENT
@given(NUMBERS)
def test_moments_and_quantiles_are_numpys(numbers: list[float]) -> None:
    mean, deviation = statistics.moments(cells(numbers))
    assert mean == pytest.approx(np.mean(numbers), rel=1e-9, abs=1e-9)
    assert deviation == pytest.approx(np.std(numbers), rel=1e-6, abs=1e-6)
    for share in (0.1, 0.5, 0.9, 1.0):
        expected = np.quantile(numbers, share, method="inverted_cdf")
        assert statistics.quantile(cells(numbers), share) == expected


@pytest.mark.parametrize("numbers", [[1e308, -1e308], [1e308] * 3, [5e-324, 0.0]])
def test_moments_of_the_largest_and_smallest_numbers_are_defined(numbers: list[float]) -> None:
    assert all(np.isfinite(statistics.moments(cells(numbers))))


@PATIENT
@given(st.floats(0, 1), st.integers(20, 10**6), st.integers(20, 10**6))
def test_the_kolmogorov_p_value_is_its_limits_for_large_samples(apart: float, first: int, second: int) -> None:
    size = sqrt(first * second / (first + second))
    limit = special.kolmogorov((size + 0.12 + 0.11 / size) * apart)
    assert statistics.kolmogorov_p(apart, first, second) == pytest.approx(limit, abs=1e-12)


@pytest.mark.parametrize("window", [50, 500, 20_000])
@pytest.mark.parametrize("p", [1e-2, 1e-4])
def test_the_kolmogorov_p_value_is_near_the_exact_one(window: int, p: float) -> None:
    apart = stats.kstwo.isf(p, window)
    assert statistics.kolmogorov_p(apart, 10**9, window) == pytest.approx(p, rel=0.15)


# --- codes ------------------------------------------------------------------------------------------------------------


@PATIENT
@given(st.floats(0.01, 300), st.integers(1, 1000))
def test_the_chi_square_tail_is_scipys(statistic: float, freedom: int) -> None:
    expected = stats.chi2.sf(statistic, freedom)
    assert statistics.chi_square_tail(statistic, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-13)


@PATIENT
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 5000)), min_size=2, max_size=12))
def test_the_chi_square_test_is_scipys(pairs: list[tuple[int, int]]) -> None:
    if statistics.totals(pairs)[0]:
        tested = stats.chi2_contingency(np.array(pairs).T, correction=False)
        statistic, freedom = statistics.chi_square(pairs)
        assert statistic == pytest.approx(tested.statistic, rel=1e-9, abs=1e-9)
        assert freedom == tested.dof
        assert statistics.chi_square_tail(statistic, freedom) == pytest.approx(tested.pvalue, rel=1e-7, abs=1e-13)


@PATIENT
@given(PAIRS, st.tuples(COUNT, COUNT))
def test_rare_codes_are_put_together_and_nobody_is_lost(pairs: list[tuple[int, int]], rare: tuple[int, int]) -> None:
    sizes = statistics.totals([*pairs, rare])
    groups = statistics.common(pairs, sizes, rare)
    assert statistics.totals(groups) == sizes
    # scipy's expected frequencies.
    expected = stats.contingency.expected_freq(np.array(groups))
    assert len(groups) == 1 or (expected >= statistics.EXPECTED_AT_LEAST * (1 - 1e-9)).all()
    alone = [pair for pair in pairs if stats.contingency.expected_freq([pair, np.subtract(sizes, pair)])[0].min() >= 5]
    assert len(alone) <= len(groups) <= len(alone) + 1


# --- either -----------------------------------------------------------------------------------------------------------


@PATIENT
@given(PAIRS)
def test_divergences_and_shares_are_scipys(pairs: list[tuple[int, int]]) -> None:
    before, now = np.array(pairs, float).T
    awaited = distance.jensenshannon(before, now, base=2)
    assert statistics.jensen_shannon(pairs) == pytest.approx(np.nan_to_num(awaited), abs=1e-7)
    one, other = ((sample + 0.5) / (sample + 0.5).sum() for sample in (before, now))
    symmetric = stats.entropy(one, other) + stats.entropy(other, one)
    chance = (len(pairs) - 1) * (1 / before.sum() + 1 / now.sum())
    assert statistics.stability_index(pairs) == pytest.approx(max(0.0, symmetric - chance), abs=1e-9)
    shares = np.abs(before / before.sum() - now / now.sum())
    assert statistics.largest_change(pairs) == pytest.approx(shares.max(), abs=1e-12)


def test_empty_bins_leave_the_indices_finite() -> None:
    assert statistics.stability_index([(1000, 0), (0, 1000)]) > 5
    assert statistics.jensen_shannon([(1000, 0), (0, 1000)]) == 1


def test_the_stability_index_is_zero_for_the_same_and_grows_with_the_distance() -> None:
    same, slight, strong = ([(5000, 500), (5000, 500)], [(5000, 400), (5000, 600)], [(5000, 100), (5000, 900)])
    assert statistics.stability_index(same) == 0
    assert 0 < statistics.stability_index(slight) < 0.2 < statistics.stability_index(strong)


def test_small_windows_do_not_look_unstable_by_chance() -> None:
    source = np.random.default_rng(4)
    windows = source.multinomial(100, [0.1] * 10, size=200)
    indices = [statistics.stability_index([(1000, int(count)) for count in window]) for window in windows]
    assert sum(indices) / len(indices) < 0.03  # 0.1, were chance not taken off


@PATIENT
@given(PAIRS, st.integers(1, 20))
def test_pooling_loses_nobody(pairs: list[tuple[int, int]], bins: int) -> None:
    groups = statistics.pooled(pairs, bins)
    assert statistics.totals(groups) == statistics.totals(pairs)
    assert len(groups) <= bins


def test_the_robust_distance_is_deequs() -> None:
    # deequ's formula at 1,000 and 500 items: 1.8 * sqrt(1500 / 500000) = 0.0985900…
    assert statistics.robust(0.25, 1000, 500) == pytest.approx(0.25 - 0.09859006, abs=1e-7)
    assert statistics.robust(0.05, 1000, 500) == 0


# --- shares -----------------------------------------------------------------------------------------------------------


@PATIENT
@given(SHARES)
def test_the_rise_of_a_share_is_fishers_exact_test(shares: tuple[int, int, int, int]) -> None:
    before, of_before, now, of_now = shares
    table = [[now, of_now - now], [before, of_before - before]]
    expected = stats.fisher_exact(table, alternative="greater").pvalue
    assert statistics.rise_p(before, of_before, now, of_now) == pytest.approx(expected, rel=1e-6, abs=1e-11)


@PATIENT
@given(st.integers(0, 5000), st.integers(1, 5000), st.floats(0, 1, allow_subnormal=False))
def test_the_binomial_tail_is_scipys(count: int, of: int, share: float) -> None:
    expected = stats.binom.sf(min(count, of) - 1, of, share)
    assert statistics.above_p(min(count, of), of, share) == pytest.approx(expected, rel=1e-6, abs=1e-11)


def test_tails_of_large_samples_are_scipys() -> None:
    expected = stats.hypergeom.sf(5000, 11_000_000, 50_000, 1_000_000)
    assert statistics.rise_p(44_999, 10_000_000, 5001, 1_000_000) == pytest.approx(expected, rel=1e-5)


@PATIENT
@given(SHARES)
def test_two_shares_are_told_apart_as_a_chi_square_test_tells_them(shares: tuple[int, int, int, int]) -> None:
    a, n, b, m = shares
    tested = statistics.shares_p(a, n, b, m)
    if a + b == 0 or a + b == n + m:
        assert tested == 1
    else:
        expected = stats.chi2_contingency([[a, n - a], [b, m - b]], correction=False).pvalue
        assert tested == pytest.approx(expected, rel=1e-7, abs=1e-13)
