"""Labelled datasets, published and a user's own, and their disjoint, seeded splits."""

from mibench.datasets.base import Dataset
from mibench.datasets.registry import (
    PUBLISHED,
    Published,
    check_name,
    data_folder,
    is_here,
    load,
    name_of,
    names,
    whereabouts,
)
from mibench.datasets.splits import ROLES, SPLIT_SIZES, SplitSizes, split

__all__ = [
    "PUBLISHED",
    "ROLES",
    "SPLIT_SIZES",
    "Dataset",
    "Published",
    "SplitSizes",
    "check_name",
    "data_folder",
    "is_here",
    "load",
    "name_of",
    "names",
    "split",
    "whereabouts",
]
