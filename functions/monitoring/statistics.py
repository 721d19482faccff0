"""How far two samples are apart, from counts alone: no AWS, and nothing beyond the standard library.

A sample is a list of cells, (value, count) in ascending order. Two of them are compared as `Paired` cells or as `Pair`
counts: (before, now), of the same cell or code.

Where the counts are a sketch's, each value stands for a cell of values. Then, against the exact figure, the
Kolmogorov-Smirnov distance is low by at most the largest share that one cell holds, and the Wasserstein distance is off
by at most 1/128 of the mean distance from the centre, of both samples together. Everything else is exact for the cells.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, repeat
from math import erfc, exp, inf, lgamma, log, log1p, sqrt
from operator import itemgetter, mul, sub, truediv
from typing import Final

Pair = tuple[int, int]
Paired = tuple[float, int, int]

EXPECTED_AT_LEAST: Final = 5.0
"""Codes that are rarer than this are pooled, as the chi-square approximation needs (Cochran 1954)."""
PSI_BINS: Final = 10
PSI_PRIOR: Final = 0.5
"""Added to each bin, so that an empty one does not make the index infinite."""
ROBUST: Final = 1.8
"""Model Monitor's `Robust` distance takes off what chance explains at a level of 0.3 % (deequ, Distance.scala)."""

_FIRST: Final = itemgetter(0)
_SECOND: Final = itemgetter(1)


def paired(before: Iterable[tuple[float, int]], now: Iterable[tuple[float, int]]) -> list[Paired]:
    """The cells of two samples side by side, ascending."""
    first, second = dict(before), dict(now)
    return [(value, first.get(value, 0), second.get(value, 0)) for value in sorted({*first, *second})]


def counts(cells: Iterable[Paired]) -> list[Pair]:
    """The counts alone."""
    return [(before, now) for _, before, now in cells]


def totals(pairs: Sequence[Pair]) -> Pair:
    """The sizes of the two samples."""
    return sum(map(_FIRST, pairs)), sum(map(_SECOND, pairs))


# --- numbers ----------------------------------------------------------------------------------------------------------


def kolmogorov(pairs: Sequence[Pair]) -> float:
    """The largest difference of two distribution functions, at the ends of ordered cells."""
    first, second = _sums(pairs)
    before, now = first[-1], second[-1]
    apart = map(sub, map(mul, first, repeat(now)), map(mul, second, repeat(before)))
    largest: int = max(map(abs, apart))
    return largest / (before * now)


def _sums(pairs: Sequence[Pair]) -> tuple[list[int], list[int]]:
    """The counts of each sample up to and with each cell."""
    return [*accumulate(map(_FIRST, pairs))], [*accumulate(map(_SECOND, pairs))]


def kolmogorov_p(distance: float, first: int, second: int) -> float:
    """How likely a distance at least this large is without drift, for samples of these sizes.

    The asymptotic series with Stephens' correction for small samples (Numerical Recipes, 3rd edition, 14.3.3).
    """
    size = sqrt(first * second / (first + second))
    x = (size + 0.12 + 0.11 / size) * distance
    if x < 0.2:
        return 1.0
    total = sum((-1.0) ** (k - 1) * exp(-2 * (k * x) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * total))


def wasserstein(cells: Sequence[Paired]) -> float:
    """The area between two distribution functions: how far the values have to be carried, on average."""
    values = [*map(_FIRST, cells)]
    first, second = _sums(counts(cells))
    shares = (map(truediv, sums, repeat(sums[-1])) for sums in (first, second))
    # The last sums, up to the end, have no width.
    area: float = sum(map(mul, map(abs, map(sub, *shares)), map(sub, values[1:], values)))
    return area


def moments(cells: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """The mean and the standard deviation (of a population); 0 and 0 of nothing."""
    values, counts = [*map(_FIRST, cells)], [*map(_SECOND, cells)]
    total = sum(counts)
    if not total:
        return 0.0, 0.0
    mean = sum(map(mul, map(truediv, values, repeat(total)), counts))
    # Scaled, so that squares of the largest numbers do not overflow.
    offsets = [*map(sub, values, repeat(mean))]
    widest = max(map(abs, offsets))
    if not 0 < widest < inf:
        return mean, 0.0
    scaled = [*map(truediv, offsets, repeat(widest))]
    return mean, widest * sqrt(sum(map(mul, map(mul, scaled, scaled), counts)) / total)


def quantile(cells: Sequence[tuple[float, int]], share: float) -> float:
    """The smallest value that at least this share of a sample does not exceed. The sample is not empty."""
    due = share * sum(count for _, count in cells)
    total = 0
    for value, count in cells:
        total += count
        if total >= due:
            return value
    return cells[-1][0]


def pooled(pairs: Sequence[Pair], bins: int) -> list[Pair]:
    """Ordered cells put together to `bins` of about the same share of the first sample, fewer where ties forbid it."""
    step = totals(pairs)[0] / bins
    groups: list[Pair] = []
    first = second = 0
    for before, now in pairs:
        first, second = first + before, second + now
        if first >= step:
            groups.append((first, second))
            first = second = 0
    if first or second:
        last = groups.pop() if groups else (0, 0)
        groups.append((last[0] + first, last[1] + second))
    return groups


# --- codes ------------------------------------------------------------------------------------------------------------


def largest_change(pairs: Sequence[Pair]) -> float:
    """The largest change of one code's share."""
    before, now = totals(pairs)
    return max(abs(first / before - second / now) for first, second in pairs)


def common(pairs: Iterable[Pair], of: Pair, rare: Pair = (0, 0)) -> list[Pair]:
    """The codes that are common enough for the chi-square approximation, then all others together, with `rare`.

    `of` are the sizes of the samples. What decides is the count in both together, which favours neither. Where even all
    others together are too rare, they are put to the rarest of the common ones.
    """
    least = EXPECTED_AT_LEAST * sum(of) / min(of)
    groups = []
    for pair in pairs:
        if sum(pair) < least:
            rare = rare[0] + pair[0], rare[1] + pair[1]
        else:
            groups.append(pair)
    if groups and sum(rare) < least:
        rarest = min(groups, key=sum)
        groups.remove(rarest)
        rare = rare[0] + rarest[0], rare[1] + rarest[1]
    return [*groups, rare] if sum(rare) else groups


def chi_square(pairs: Sequence[Pair]) -> tuple[float, int]:
    """The statistic of the two-sample chi-square test and its degrees of freedom. No pair is (0, 0)."""
    before, now = totals(pairs)
    share = now / (before + now)
    statistic = 0.0
    for first, second in pairs:
        awaited = (first + second) * share
        statistic += (second - awaited) ** 2 / (awaited * (1 - share))
    return statistic, len(pairs) - 1


def chi_square_tail(statistic: float, freedom: int) -> float:
    """The probability of a chi-square value above `statistic`: the regularised upper incomplete gamma function.

    By its series and its continued fraction (Numerical Recipes, 3rd edition, 6.2).
    """
    if freedom < 1 or statistic <= 0:
        return 1.0
    a, x = freedom / 2, statistic / 2
    scale = exp(a * log(x) - x - lgamma(a))
    return max(0.0, 1 - scale * _series(a, x)) if x < a + 1 else scale * _continued_fraction(a, x)


def _series(a: float, x: float) -> float:
    term = total = 1 / a
    n = a
    while term > total * 1e-16:
        n += 1
        term *= x / n
        total += term
    return total


def _continued_fraction(a: float, x: float) -> float:
    """Lentz's method; a divisor of zero is replaced by something tiny."""
    tiny = 1e-300
    b = x + 1 - a
    c, d = 1 / tiny, 1 / b
    fraction = d
    for i in range(1, 500):
        factor = -i * (i - a)
        b += 2
        d = 1 / ((factor * d + b) or tiny)
        c = (b + factor / c) or tiny
        fraction *= d * c
        if abs(d * c - 1) < 1e-16:
            break
    return fraction


# --- either -----------------------------------------------------------------------------------------------------------


def stability_index(pairs: Sequence[Pair]) -> float:
    """The population stability index: 0 for equal shares; above 0.2 the population is said to have moved.

    What sampling alone gives on average, (bins - 1) (1/n + 1/m), is taken off: small windows would look unstable.
    """
    before, now = totals(pairs)
    index = 0.0
    for first, second in pairs:
        one = (first + PSI_PRIOR) / (before + PSI_PRIOR * len(pairs))
        other = (second + PSI_PRIOR) / (now + PSI_PRIOR * len(pairs))
        index += (other - one) * log(other / one)
    return max(0.0, index - (len(pairs) - 1) * (1 / before + 1 / now))


def jensen_shannon(pairs: Sequence[Pair]) -> float:
    """The Jensen-Shannon distance: 0 for equal shares, 1 where nothing is in common (logarithms of base 2)."""
    before, now = totals(pairs)
    divergence = 0.0
    for first, second in pairs:
        one, other = first / before, second / now
        middle = (one + other) / 2
        divergence += sum(share * log(share / middle) for share in (one, other) if share) / 2
    return sqrt(min(1.0, max(0.0, divergence / log(2))))


def robust(distance: float, first: int, second: int) -> float:
    """A largest difference, less what chance explains: Model Monitor's `Robust`."""
    return max(0.0, distance - ROBUST * sqrt((first + second) / (first * second)))


# --- shares -----------------------------------------------------------------------------------------------------------


def shares_p(before: int, of_before: int, now: int, of_now: int) -> float:
    """How likely shares at least this far apart are, were they the same: the two-proportion z test, two-sided.

    It is for shares that are neither rare nor of few; `rise_p` is exact for all.
    """
    share = (before + now) / (of_before + of_now)
    if share in (0.0, 1.0):
        return 1.0
    error = sqrt(share * (1 - share) * (1 / of_before + 1 / of_now))
    return erfc(abs(now / of_now - before / of_before) / error / sqrt(2))


def rise_p(before: int, of_before: int, now: int, of_now: int) -> float:
    """How likely at least `now` of `of_now` are, were the share what it was before: Fisher's exact test, one-sided."""
    found, everything = before + now, of_before + of_now
    others = everything - found
    lowest, highest = max(0, of_now - others), min(found, of_now)

    def ratio(count: int) -> float:
        """How much likelier count + 1 is than count."""
        return (found - count) * (of_now - count) / ((count + 1) * (others - of_now + count + 1))

    def chance(count: int) -> float:
        return exp(_choose(found, count) + _choose(others, of_now - count) - _choose(everything, of_now))

    return _tail(now, lowest, highest, found * of_now / everything if everything else 0.0, chance, ratio)


def above_p(count: int, of: int, share: float) -> float:
    """How likely at least `count` of `of` are where each is with the probability `share`: the binomial tail."""
    if count <= 0 or share >= 1:
        return 1.0
    if share <= 0:
        return 0.0

    def ratio(at: int) -> float:
        return (of - at) * share / ((at + 1) * (1 - share))

    def chance(at: int) -> float:
        return exp(_choose(of, at) + at * log(share) + (of - at) * log1p(-share))

    return _tail(count, 0, of, of * share, chance, ratio)


def _tail(
    count: int, lowest: int, highest: int, mean: float, chance: Callable[[int], float], ratio: Callable[[int], float]
) -> float:
    """The probability of at least `count`, summed from there away from the mean, until it adds nothing."""
    if count <= lowest:
        return 1.0
    if count > highest:
        return 0.0
    rising = count > mean
    term = total = chance(count if rising else count - 1)
    for at in range(count, highest) if rising else range(count - 2, lowest - 1, -1):
        term = term * ratio(at) if rising else term / ratio(at)
        total += term
        if term < total * 1e-17:
            break
    return min(1.0, total) if rising else max(0.0, 1 - total)


def _choose(of: int, count: int) -> float:
    """The logarithm of the number of ways to choose."""
    return lgamma(of + 1) - lgamma(count + 1) - lgamma(of - count + 1)
