"""The attacks. To add one: a class in a file here, its import below, a row in docs/attacks.md."""

from mibench.attacks import (
    blindmi,
    calibrated,
    class_threshold,
    label_only,
    lira,
    loss_threshold,
    nn,
    ppv,
    quantile,
    risk_score,
    rmia,
    shapley,
    top1_threshold,
)
from mibench.attacks.base import NEEDS, REGISTRY, Attack, Inference, Knowledge, find, register

__all__ = [
    "NEEDS",
    "REGISTRY",
    "Attack",
    "Inference",
    "Knowledge",
    "blindmi",
    "calibrated",
    "class_threshold",
    "find",
    "label_only",
    "lira",
    "loss_threshold",
    "nn",
    "ppv",
    "quantile",
    "register",
    "risk_score",
    "rmia",
    "shapley",
    "top1_threshold",
]
