"""Which factor moves which attack: shares of variance, with the signed size."""

from __future__ import annotations

import pandas as pd
import seaborn as sns

from mibench.figures.rows import counted, only_setting
from mibench.figures.style import SHARES, Picture, drawn, picture
from mibench.look import PLAIN, Look, many
from mibench.study.metrics import METRICS


@drawn
def effect_table(effects: pd.DataFrame, results: pd.DataFrame, *, look: Look = PLAIN) -> Picture:
    """Draw each factor's share of every attack's variance, its signed size written in.

    Parameters
    ----------
    effects : DataFrame
        Rows of :func:`mibench.compare.effects.effects`.
    results : DataFrame
        The rows of one setting that they were found in.
    look : Look
        Its metric is that of both.
    """
    setting, label = only_setting(results, "to draw"), METRICS[look.metric].label
    order = list(dict.fromkeys(effects["factor"]))
    printed = effects.dropna(subset=["published_eta_squared"])
    printed = printed.assign(
        title=printed["title"] + ", published",
        eta_squared=printed["published_eta_squared"],
        size=printed["published_size"],
    )
    rows = pd.concat([effects, printed])
    attacks = dict.fromkeys(effects["title"])
    titles = [title for own in attacks for title in (own, f"{own}, published")]
    wide = rows.pivot(index="title", columns="factor", values=["eta_squared", "size"])
    wide = wide.loc[[title for title in titles if title in wide.index]].astype(float)
    shares, sizes = wide["eta_squared"][order], wide["size"][order]
    text = sizes.map(lambda size: "" if size != size else f"{size:+z.2f}")
    figure, axes = picture(look, 1.5 + 0.15 * len(shares))
    axes.grid(False)
    bar = {"label": f"share of the variance of {label}"}
    sns.heatmap(shares, annot=text, fmt="", cbar_kws=bar, ax=axes, **SHARES)
    figure.head(setting)
    axes.set(xlabel="", ylabel="")
    axes.set_xticks(axes.get_xticks(), [str(f).replace("_", "\n") for f in order], rotation=90)
    axes.tick_params(length=0)
    named = effects.dropna(subset=["first"]).drop_duplicates("factor")
    ends = "; ".join(
        f"{row['factor'].replace('_', ' ')} from {row['first']} to {row['last']}"
        for row in named.to_dict("records")
    )
    figure.caption = (
        f"What moves {label} of {many(len(attacks), 'attack')} on {setting}. Colour: each factor's "
        "share of the variance over scenarios (eta squared, type II). Numbers: the change from a "
        f"factor's first level to its last ({ends}), over scenarios that differ in it alone"
        f"{', and the same of the published results' if len(printed) else ''}. "
        f"{counted(results)}."
    )
    means = effects.groupby("factor")["eta_squared"].mean()
    largest = str(means.idxmax())
    figure.alt = (
        f"Heat map; on average the {largest.replace('_', ' ')} explains most, "
        f"{means[largest]:.0%} of an attack's variance."
    )
    return figure
