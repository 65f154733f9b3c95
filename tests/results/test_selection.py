"""SPA and deflated Sharpe ratio, beside what nobody here wrote."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from scalp.results.selection import Matrix, _spread, deflated_sharpe, spa
from scalp.results.verdict import best_of_many


def sets(count: int, days: int, seed: int, edge: float = 0.0, common: float = 0.5) -> Matrix:
    """Daily nets of sets that have something in common; the first gains `edge` a day more."""
    rng = np.random.default_rng(seed)
    nets = common * rng.normal(size=(days, 1)) + rng.normal(size=(days, count)) * rng.uniform(0.5, 3, size=count)
    nets[:, 0] += edge
    return nets


@pytest.mark.parametrize(("seed", "edge"), [(1, 0.0), (2, 0.1), (3, 0.3), (4, 0.6), (5, 1.0)])
def test_the_p_value_is_that_of_arch(seed: int, edge: float) -> None:
    """Its statistic is not studentized: so it is shown what our spread divides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from arch.bootstrap import SPA

    days, block = 60, 4
    nets = sets(15, days, seed, edge)
    nets -= np.linspace(0, 2, 15)  # some are hopeless
    even = nets / _spread(nets, block)
    theirs = SPA(np.zeros(days), -even, block_size=block, reps=4000, bootstrap="stationary", seed=seed)
    theirs.compute()
    assert spa(nets) == pytest.approx(theirs.pvalues["consistent"], abs=0.03)


def test_best_of_many_without_edge_is_not_shown_and_one_with_is() -> None:
    assert spa(sets(200, 40, 7)) > 0.05
    assert spa(sets(200, 40, 7, edge=3.0)) < 0.01
    assert spa(-abs(sets(5, 40, 7))) == 1.0, "nothing gains"
    assert spa(np.zeros((40, 3))) == 1.0, "nothing trades"
    assert spa(sets(20, 40, 7)) == spa(sets(20, 40, 7)), "the same days have the same p-value"
    some = sets(20, 40, 7)
    assert spa(some * np.arange(1, 21)) == pytest.approx(spa(some)), "a larger lot is no better set"


@pytest.mark.parametrize("seed", range(4))
def test_the_deflated_sharpe_ratio_is_that_of_its_paper(seed: int) -> None:
    from scipy import stats  # type: ignore[import-untyped, unused-ignore]

    nets = sets(30, 50, seed, edge=0.4)
    best = nets[:, 0]
    ratios = nets.mean(axis=0) / nets.std(axis=0, ddof=1)
    quantiles = stats.norm.ppf([1 - 1 / 30, 1 - 1 / (30 * math.e)])
    by_luck = math.sqrt(np.var(ratios, ddof=1)) * ((1 - np.euler_gamma) * quantiles[0] + np.euler_gamma * quantiles[1])
    ratio, skew, kurtosis = ratios[0], stats.skew(best), stats.kurtosis(best, fisher=False)
    z = (ratio - by_luck) * math.sqrt(49) / math.sqrt(1 - skew * ratio + (kurtosis - 1) / 4 * ratio**2)
    assert deflated_sharpe(best.tolist(), nets) == pytest.approx(stats.norm.cdf(z))


def test_the_more_were_tried_the_less_the_best_proves() -> None:
    nets = sets(100, 50, 3)
    best = [*(nets[:, 0] + 0.5)]
    few, many = deflated_sharpe(best, nets[:, :5]), deflated_sharpe(best, nets)
    assert few is not None and many is not None and few > many
    assert deflated_sharpe(best, nets[:, :1]) is None, "there was no choice"
    assert deflated_sharpe([1.0] * 50, nets) is None


def test_the_sentence_says_how_many_were_tried() -> None:
    nets = sets(3, 20, 1).T.tolist()
    sentence = str(best_of_many(nets, nets[0]))
    assert sentence.startswith("edge of the best: not shown (SPA p = 0.")
    assert " over 20 days and all 3 sets ever tried on these bars; deflated Sharpe 0." in sentence
    short = [daily[:19] for daily in nets]
    assert str(best_of_many(short, short[0])) == "edge of the best: not tested, 19 days are too few: it takes 20"
    one = [daily[:1] for daily in nets]
    assert str(best_of_many(one, one[0])) == "edge of the best: not tested, 1 day is too few: it takes 20"
