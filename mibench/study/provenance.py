"""What made a number: versions, the commit of a checkout, the source of every stage."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

import mibench
from mibench import code
from mibench.attacks.base import Attack
from mibench.data.base import DATASETS
from mibench.models import MODELS
from mibench.scenarios import spelled
from mibench.setting import Setting

# The stages that every row goes through; training is loaded when it is first asked for.
_STAGES = ("mibench.study.study", "mibench.training.fitting")
_ROOT = Path(mibench.__file__).parents[1]


@cache
def provenance() -> dict[str, str]:
    """Return the versions that results depend on, and the commit of this package's checkout."""
    named = {"torch": "torch", "numpy": "numpy", "scipy": "scipy", "sklearn": "scikit-learn"}
    return {
        "mibench_version": mibench.__version__,
        "git_commit": _commit(),
        "python_version": platform.python_version(),
        **{f"{name}_version": version(package) for name, package in named.items()},
    }


def sources(setting: Setting, attacks: Iterable[Attack]) -> dict[str, str]:
    """Return the digest of each source file that makes the rows of some attacks."""
    modules = {type(attack).__module__ for attack in attacks}
    if (known := DATASETS.get(spelled(setting.dataset))) is not None:
        modules.add(known.module)
    return code.digests(*_STAGES, MODELS[MODELS.find(setting.model)].module, *modules)


def _commit() -> str:
    """Return the checkout's commit, marked + where files differ from it; else nothing.

    The checkout is this package's own: not the repository of a user in whose folder it is
    installed.
    """
    if not (_ROOT / ".git").exists() or not (_ROOT / "pyproject.toml").exists():
        return ""
    commit = _git("rev-parse", "HEAD")
    return commit + ("+" if commit and _git("status", "--porcelain", "--", "mibench") else "")


def _git(*arguments: str) -> str:
    try:
        made = subprocess.run(
            ["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:  # git is not installed
        return ""
    return made.stdout.strip()
