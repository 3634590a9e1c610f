"""The attacks. To add one: a class in a file here, its import below, a row in docs/attacks.md."""

from mibench.attacks import label_only, lira, loss_threshold, nn, top1_threshold
from mibench.attacks.base import NEEDS, REGISTRY, Attack, Inference, Knowledge, find, register

__all__ = [
    "NEEDS",
    "REGISTRY",
    "Attack",
    "Inference",
    "Knowledge",
    "find",
    "label_only",
    "lira",
    "loss_threshold",
    "nn",
    "register",
    "top1_threshold",
]
