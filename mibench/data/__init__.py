"""Labelled datasets, published and a user's own, and their disjoint, seeded splits."""

from mibench.data.base import Dataset
from mibench.data.registry import (
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
from mibench.data.splits import ROLES, SPLIT_SIZES, SplitSizes, split

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
