"""Lower bounds on epsilon: how private a training can be at most, by what an attack found."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import betaincinv, logit
from scipy.stats import binom

from mibench.errors import MIBenchError
from mibench.outputs import BoolArray, FloatArray
from mibench.study.results import setting_of


class Bounds(NamedTuple):
    """Two lower bounds on epsilon, each with the confidence asked for; 0 says nothing.

    Attributes
    ----------
    rates : float
        From TPR and FPR (:func:`of_rates`). It takes the answers on different samples for
        independent, as they are where each comes from a model of its own; on samples of one model
        that is an assumption.
    one_run : float
        From one model (:func:`of_guesses`), without that assumption.
    """

    rates: float
    one_run: float


def bounds(
    scores: FloatArray,
    is_member: BoolArray,
    delta: float = 1e-5,
    confidence: float = 0.95,
    seed: int = 0,
) -> Bounds:
    """Return lower bounds on the epsilon of an (epsilon, delta)-private training.

    On a random half of the samples the thresholds with the highest bounds are chosen, on the
    other half they are judged: one threshold for TPR and FPR; two for guesses, between which the
    attack abstains. Both suppose that each sample was a member by a coin of its own; samples that
    a scenario selected are so only about, as splits have fixed sizes and the selection looks at
    what the model answers.

    Parameters
    ----------
    scores : float array, (n,)
        Higher for likelier members.
    is_member : bool array, (n,)
    delta, confidence : float
        The largest of k bounds holds with `confidence` where each has 1 - (1 - confidence) / k.
    seed : int
        Of the halves.

    Raises
    ------
    MIBenchError
        If delta or confidence is not between 0 and 1.
    """
    if not (0 <= delta < 1 and 0 < confidence < 1):
        raise MIBenchError(
            f"delta is {delta} and confidence {confidence}; use numbers between 0 and 1, such as "
            "1e-5 and 0.95"
        )
    chosen = np.random.default_rng([seed, 31]).permutation(len(scores)) < len(scores) // 2
    ordered = np.sort(scores[chosen])
    # From both ends the 1st, 2nd, 4th, ...: epsilon is read off the tails.
    places = 2 ** np.arange(len(ordered).bit_length())
    levels = np.unique(np.concatenate([ordered[places - 1], ordered[-places], [-np.inf, np.inf]]))
    below, above = np.triu_indices(len(levels), 1)

    def guessed(half: BoolArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return members and nonmembers at or above, and at or below, every level."""
        reached = scores[half] >= levels[:, None]
        under = scores[half] <= levels[:, None]
        sides = is_member[half], ~is_member[half]
        tp, fp, fn, tn = ((part & side).sum(axis=1) for part in (reached, under) for side in sides)
        return tp, fp, fn, tn

    tp, fp, fn, tn = guessed(chosen)
    best = int(of_rates(tp, fp, tp[0], fp[0], delta, confidence).argmax())
    right, count = tp[above] + tn[below], (tp + fp)[above] + (fn + tn)[below]
    pair = int(_without_delta(right, count, confidence).argmax())
    tp, fp, fn, tn = guessed(~chosen)
    low, high = below[pair], above[pair]
    return Bounds(
        float(of_rates(tp[best], fp[best], tp[0], fp[0], delta, confidence)),
        of_guesses(
            int(tp[high] + tn[low]),
            int(tp[high] + fp[high] + fn[low] + tn[low]),
            int((~chosen).sum()),
            delta,
            confidence,
        ),
    )


def of_rates(
    tp: ArrayLike,
    fp: ArrayLike,
    members: ArrayLike,
    nonmembers: ArrayLike,
    delta: float = 0.0,
    confidence: float = 0.95,
) -> Any:
    """Return the bound from counts of true and false positives, arrays of one shape or numbers.

    Privacy asks for TPR <= exp(epsilon) FPR + delta, and for TNR <= exp(epsilon) FNR + delta
    (Kairouz et al. 2015). Clopper and Pearson's (1934) lower limit of TPR and upper limit of FPR,
    which fail with half of 1 - `confidence` each, serve both.
    """
    tp, fp, m, n = (np.asarray(count, dtype=float) for count in (tp, fp, members, nonmembers))
    side = (1 - confidence) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        tpr = np.where(tp > 0, betaincinv(tp, m - tp + 1, side), 0)
        fpr = np.where(fp < n, betaincinv(fp + 1, n - fp, 1 - side), 1)
        ratio = np.maximum((tpr - delta) / fpr, (1 - fpr - delta) / (1 - tpr))
    return np.log(np.maximum(np.nan_to_num(ratio), 1))


def of_guesses(
    right: int, guesses: int, samples: int, delta: float = 0.0, confidence: float = 0.95
) -> float:
    """Return the bound from guesses about one model's samples, the others left out.

    The largest epsilon at which so many right guesses are improbable, 1 - `confidence` or less
    (Steinke, Nasr & Jagielski 2023, Theorem 5.2 and Appendix D).

    Parameters
    ----------
    right, guesses : int
    samples : int
        All whose membership was open, with those that no guess was made about.
    """
    largest = float(_without_delta(right, guesses, confidence))
    if not delta or not largest:
        return largest

    def improbable(epsilon: float) -> float:
        share = 1 / (1 + np.exp(-epsilon))
        missed = np.cumsum(binom.pmf(np.arange(right)[::-1], guesses, share))
        slack = 2 * samples * delta * float((missed / np.arange(1, right + 1)).max())
        return float(binom.sf(right - 1, guesses, share)) + slack - (1 - confidence)

    return float(brentq(improbable, 0, largest)) if improbable(0) < 0 else 0.0


def _without_delta(right: ArrayLike, guesses: ArrayLike, confidence: float) -> FloatArray:
    """Return the bound for delta 0: the log odds of Clopper and Pearson's lower limit."""
    right, guesses = np.asarray(right, dtype=float), np.asarray(guesses, dtype=float)
    limit = np.where(right > 0, betaincinv(right, guesses - right + 1, 1 - confidence), 0.5)
    return np.asarray(logit(np.maximum(limit, 0.5)))


def table(answers: pd.DataFrame, delta: float = 1e-5, confidence: float = 0.95) -> pd.DataFrame:
    """Return both bounds of every attack on every target dataset.

    Parameters
    ----------
    answers : DataFrame
        Of :meth:`mibench.study.study.Study.run`.
    delta, confidence : float
        Of each bound; see :func:`bounds`.

    Returns
    -------
    DataFrame
        One row per setting, scenario, seed and attack: `rates` and `one_run`.
    """

    def bound(rows: pd.DataFrame) -> pd.Series[float]:
        scores, is_member = rows["score"].to_numpy(), rows["is_member"].to_numpy()
        found = bounds(scores, is_member, delta, confidence)
        return pd.Series(found, Bounds._fields, dtype=float)

    by = [*setting_of(answers), "scenario", "seed", "attack"]
    grouped = answers.groupby(by, sort=False, dropna=False)[["score", "is_member"]]
    return grouped.apply(bound).reset_index()
