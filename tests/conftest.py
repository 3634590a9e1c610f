"""Data and studies that tests share."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

# Where several processes test at once, each has a core; set before PyTorch is imported.
if parallel := "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A job in the background ignores interrupts, and so would all programs that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from mibench import Study
from mibench.adapters.base import ADAPTERS
from mibench.attacks import ATTACKS
from mibench.data.base import DATASETS
from mibench.models import MODELS
from tests import installation

# Few samples of digits in every role, so that training takes next to no time.
TINY = {
    "members": 40,
    "nonmembers": 40,
    "shadow_members": 40,
    "shadow_nonmembers": 40,
    "auxiliary": 30,
    "pairs": 10,
}

# A case that takes longer than five seconds fails.
PROPERTIES: dict[str, Any] = {
    "deadline": 5000,
    "suppress_health_check": list(HealthCheck),
    "database": None,
}
settings.register_profile("suite", max_examples=200, derandomize=True, **PROPERTIES)
settings.register_profile("long", max_examples=10_000, **PROPERTIES)
settings.load_profile("suite")


def study(dataset: str, cache_dir: Path, data_dir: Path | None = None, **setting: Any) -> Study:
    """Return a study whose files lie where a test wants them."""
    return Study.read(
        {"dataset": dataset, **setting}, {"cache_dir": cache_dir, "data_dir": data_dir}
    )


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data files, beside a checkout of the project's own."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no folder shared/data with the real data files beside this checkout")
    return folder


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all processes that test; its own locks see to it that each trains once."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if parallel else base) / "cache"


@pytest.fixture(scope="session")
def installed(cache_dir: Path) -> Path:
    """The program of a wheel's environment, one for all processes that test."""
    folder = cache_dir.with_name("installed")
    with FileLock(f"{folder}.lock"):
        return installation.program(folder) if folder.exists() else installation.borrowing(folder)


@pytest.fixture(scope="session")
def digits(cache_dir: Path) -> Study:
    return study("digits", cache_dir)


@pytest.fixture(scope="session")
def location30(shared_data: Path, cache_dir: Path) -> Study:
    return study("Location30", cache_dir, shared_data)


@pytest.fixture(autouse=True)
def catalogues(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds to a catalogue is not there for the next."""
    for catalogue in (ATTACKS, MODELS, DATASETS, ADAPTERS):
        monkeypatch.setattr(catalogue, "_things", dict(catalogue._all()))
