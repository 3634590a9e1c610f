"""What each form of an attack finds on the whole pool: python benchmarks/forms.py [DATASET].

Targets of seeds 0 to 3 with 16 references, 16 distilled models and 10 shadows, trained once and
kept. The dataset is Location30 by default, read from MIBENCH_DATA.
"""

import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.svm import OneClassSVM

from mibench import Study
from mibench.attacks.base import Knowledge, parse
from mibench.attacks.class_threshold import ClassThreshold
from mibench.construction.kernels import blindmi_features
from mibench.data.base import Dataset
from mibench.outputs import FloatArray, IntArray, Outputs
from mibench.signals.owner import Owner

DATASET = sys.argv[1] if len(sys.argv) > 1 else "Location30"
SEEDS = range(4)
FORMS = (
    *("rmia[gamma=1,temperature=1]", "rmia[temperature=1]", "rmia[gamma=1]", "rmia"),
    *("rmia[likelihood=taylor]", "rmia_offline", "rmia_offline[a=0.3]", "rmia_offline[a=1]"),
    *("base", "lira_online[pooled=0]", "lira_online", "lira_online[pooled=1000000]"),
    *("lira_offline[pooled=0]", "lira_offline", "lira_offline[pooled=1000000]"),
    *("attack_r[smoothing=share]", "attack_r[smoothing=linear]", "attack_r"),
    *("distillation[smoothing=share]", "distillation[smoothing=linear]", "distillation"),
    *("calibrated[of=loss]", "calibrated[of=logit]", "calibrated"),
    *("blindmi_diff_w", "blindmi_diff_wo", "blindmi_diff_wo_single"),
    *("blindmi_1class[nu=0.5]", "blindmi_1class"),
    *("quantile_regression[form=quantile]", "quantile_regression"),
    *("class_confidence", "class_entropy", "class_modified_entropy"),
    *("nn_attack[own_network_from=1000000]", "nn_attack", "loss_trajectory", "seqmia"),
)
# Of the bits of records, or deviations of the noise of images, in the copies of Label-only.
RATES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
# Of which the form with one shadow model is shown as well.
ONE_SHADOW = ("nn_attack", "loss_trajectory", "seqmia")


def measured(is_member: FloatArray, scores: FloatArray, threshold: float) -> dict[str, float]:
    """Return what is shown of an attack."""
    fpr, tpr, _ = roc_curve(is_member, scores)
    called = scores >= threshold
    return {
        "auc": roc_auc_score(is_member, scores),
        "tpr_at_fpr_1": tpr[np.searchsorted(fpr, 0.01, "right") - 1],
        "ma": called[is_member].mean() - called[~is_member].mean(),
        "fpr": called[~is_member].mean(),
    }


def radial(study: Study) -> FloatArray:
    """Return the scores of BlindMI-1CLASS with scikit-learn's defaults, its sign turned round."""
    svm = OneClassSVM().fit(blindmi_features(study.signals.generated()))
    scores: FloatArray = -svm.decision_function(blindmi_features(study.signals.labelled.outputs))
    return scores


def on_plain_scale(attack: ClassThreshold, target: Outputs) -> FloatArray:
    """Return the scores of a threshold a class on the metric itself, not its log or logit."""
    values = attack.metric(target), attack.thresholds_[target.labels]
    inverse = expit if attack.name == "class_confidence" else lambda x: -np.exp(-x)
    plain: FloatArray = inverse(values[0]) - inverse(values[1])
    return plain


def kept(owner: Owner, data: Dataset, samples: IntArray, rate: float) -> FloatArray:
    """Return the share of 20 copies, and the samples, that models (K) give their label, (K, n)."""
    rng, labels, inputs = np.random.default_rng(0), data.labels[samples], data.take(samples)
    [weights] = owner.weights()
    if data.kind == "binary":
        copies = [np.abs(inputs - (rng.random(inputs.shape) < rate)) for _ in range(20)]
    else:
        copies = [np.clip(inputs + rng.normal(0, rate, inputs.shape), 0, 1) for _ in range(20)]
    asked = [inputs, *(copy.astype(np.float32) for copy in copies)]
    answers = [owner.answer(weights, [copy]).argmax(axis=2) == labels for copy in asked]
    share: FloatArray = np.mean(answers, axis=0)
    return share


def by_rate(study: Study) -> Iterator[dict[str, str | float]]:
    """Yield the AUC of Label-only for each rate: on the target, and on the shadows, which tune."""
    signals = study.signals
    own = np.concatenate([signals.roles["shadow_members"], signals.roles["shadow_nonmembers"]])
    seen = np.stack([np.isin(own, subset) for subset in signals.shadows.subsets])
    for rate in RATES:
        target = kept(signals.target, study.dataset, signals.pool, rate)[0]
        shadows = kept(signals.shadows, study.dataset, own, rate)
        yield {
            "form": f"label_only, rate {rate}",
            "auc": roc_auc_score(signals.labelled.is_member, target),
            "shadows' auc": roc_auc_score(seen.ravel(), shadows.ravel()),
        }


def main() -> None:
    """Print means over seeds, after each seed."""
    rows: list[dict[str, str | float]] = []
    for seed in SEEDS:
        study = Study.read({"dataset": DATASET, "seed": seed, "shadows": 10})
        labelled = study.signals.labelled
        rows.append({"form": "1class, radial", **measured(labelled.is_member, radial(study), 0.0)})
        rows += by_rate(study)
        for attack in parse(FORMS):
            print(seed, attack.label, file=sys.stderr, flush=True)
            known = study._knowledge(attack)
            target = study.signals.outputs(study.signals.pool, attack.needs)
            for shadows in (1, 10) if attack.label in ONE_SHADOW else (10,):
                few = Knowledge(
                    known.seed,
                    known.shadows[:shadows],
                    known.random,
                    known.generated,
                    known.auxiliary,
                    known.shadow_auxiliary[:shadows],
                )
                found = attack.fit(few).infer(target)
                form = attack.label + (f", {shadows} shadows" if "shadow" in attack.needs else "")
                rows.append(
                    {"form": form, **measured(labelled.is_member, found.scores, found.threshold)}
                )
                if isinstance(attack, ClassThreshold):
                    plain = on_plain_scale(attack, target)
                    rows.append(
                        {"form": f"{form}, plain", **measured(labelled.is_member, plain, 0.0)}
                    )
        means = pd.DataFrame(rows).groupby("form", sort=False).mean().round(3)
        print(f"means of seeds 0 to {seed}\n{means.to_string()}", flush=True)


if __name__ == "__main__":
    main()
