"""Labelled datasets, published and a user's own, and their disjoint, seeded splits.

Each module that is named after a dataset says what is published of it; importing it registers it.
"""

from mibench.data import (  # noqa: F401, I001 - the order in which they are listed
    digits,
    noisy_digits,
    cifar100,
    cifar10,
    ch_mnist,
    imagenet,
    location30,
    purchase100,
    texas100,
)
