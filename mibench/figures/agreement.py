"""Which members attacks find together: an UpSet plot, a heat map of Jaccard, their images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns

from mibench.compare import agreement
from mibench.errors import MIBenchError
from mibench.figures.style import (
    SERIES,
    SHARES,
    SMALLEST,
    Picture,
    attack_style,
    drawn,
    list_down,
    panels,
    picture,
)
from mibench.look import PLAIN, Look, many
from mibench.outputs import IntArray

_MOST = 6


@drawn
def upset(
    hits: pd.DataFrame,
    titles: Mapping[str, str],
    about: str,
    shown: int = 20,
    *,
    look: Look = PLAIN,
) -> Picture:
    """Draw how many members are found by exactly which attacks (Lex et al. 2014).

    Our own: upsetplot 0.9, of 2023 and its last, fails under pandas 3.

    Parameters
    ----------
    hits : DataFrame of bool
        Of :func:`mibench.compare.agreement.found`; six attacks at most.
    titles : mapping of str to str
        The attacks' titles by name.
    about : str
        What the members are of, for the caption.
    shown : int
        The most combinations drawn, largest first.
    look : Look

    Raises
    ------
    MIBenchError
        If there are more attacks.
    """
    if hits.shape[1] > _MOST:
        raise MIBenchError(f"an UpSet plot shows {_MOST} attacks at most; choose among them")
    counts = hits.value_counts()
    counts, rest = counts[:shown], counts[shown:]
    inside = np.array([list(key) for key in counts.index], dtype=bool)
    names, places = list(hits.columns), np.arange(len(counts))
    ratios = {"width_ratios": [1, 5], "height_ratios": [5, len(names)]}
    figure, grid = picture(look, 1.6 + 0.2 * len(names), 2, 2, sharey="row", **ratios)
    (corner, bars), (sizes, dots) = grid
    corner.remove()
    bars.bar(places, counts, color=SERIES[0])
    bars.locator_params("y", integer=True)
    bars.tick_params(labelleft=True)
    bars.set(ylabel="members", xticks=[], xlim=(-0.6, len(places) - 0.4))
    for i, name in enumerate(names):
        colour = attack_style(str(name)).colour
        found = places[inside[:, i]]
        for at, shade in ((places, "0.88"), (found, colour)):
            dots.plot(at, np.full(len(at), i), "o", color=shade, ms=4, clip_on=False)
        sizes.barh(i, hits[name].sum(), color=colour, height=0.6)
    for place, row in zip(places, inside, strict=True):
        if len(rows := np.flatnonzero(row)) > 1:
            dots.plot([place, place], [rows[0], rows[-1]], color="0.4", lw=0.8, zorder=1)
    dots.set(xticks=[], xlim=(-0.6, len(places) - 0.4))
    dots.grid(False)
    sizes.set(xlabel="members found")
    sizes.locator_params("x", integer=True)
    list_down(sizes, [titles[str(name)] for name in names])
    sizes.invert_xaxis()
    shares = agreement.coverage(hits)
    figure.caption = (
        f"Members of {about} by the attacks that find them, n = {len(hits):,}: a column is the "
        "members that exactly the attacks with a coloured dot find; on the left all that an attack "
        f"finds. Found by any {shares['any']:.1%}, by all {shares['all']:.1%}, by one alone "
        f"{shares['one alone']:.1%}."
    )
    if len(rest):
        figure.caption += (
            f" Left out: {many(len(rest), 'smaller column')} with {many(rest.sum(), 'member')}."
        )
    by = [titles[str(n)] for n, here in zip(names, inside[0], strict=True) if here]
    figure.alt = (
        f"UpSet plot; the largest column, {counts.iloc[0]} members, is found by "
        f"{', '.join(by) or 'no attack'}."
    )
    return figure


@drawn
def jaccard_map(
    hits: pd.DataFrame, titles: Mapping[str, str], about: str, *, look: Look = PLAIN
) -> Picture:
    """Draw for every two attacks the share of the members found by either that both find.

    Parameters are those of :func:`upset`, of any number of attacks.
    """
    share = agreement.jaccard(hits).rename(index=titles, columns=titles)
    few = len(share) <= _MOST * 2
    figure, axes = picture(look, 1.4 + 0.16 * len(share))
    axes.grid(False)
    bar = {"label": "Jaccard index"}
    sns.heatmap(share, annot=few, fmt=".2f", cbar_kws=bar, ax=axes, **SHARES)
    axes.set(xlabel="", ylabel="")
    axes.tick_params(length=0, labelsize=SMALLEST)
    axes.tick_params(axis="x", rotation=90)
    pairs = share.to_numpy()[np.triu_indices(len(share), 1)]
    figure.caption = (
        f"Of the members of {about} that either of two attacks finds, the share that both find "
        f"(Jaccard index), n = {len(hits):,} members. White: neither finds anybody, or none in "
        f"common. Median of all pairs {np.nanmedian(pairs):.2f}."
    )
    figure.alt = f"Heat map; the medium pair of attacks agrees on {np.nanmedian(pairs):.0%}."
    return figure


@drawn
def images(inputs: np.ndarray, labels: IntArray, about: str, *, look: Look = PLAIN) -> Picture:
    """Draw samples side by side, up to 30.

    Parameters
    ----------
    inputs : array, (n, channels, height, width)
    labels : int array, (n,)
    about : str
        Which they are, for the caption.
    look : Look
    """
    shown = min(len(inputs), 30)
    figure, grid = panels(look, shown, 10, 0.85)
    for axes, pixels, label in zip(grid, inputs, labels, strict=False):
        axes.axis("off")
        axes.imshow(np.moveaxis(pixels, 0, -1).squeeze(), cmap="gray")
        axes.set_title(f"class {label}", fontsize=SMALLEST)
    figure.caption = f"{shown} of {len(inputs):,} {about}."
    kinds, counts = np.unique(labels, return_counts=True)
    figure.alt = f"{shown} images; the most frequent class is {kinds[counts.argmax()]}."
    return figure
