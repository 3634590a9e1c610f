"""Data and studies that tests share.

PyTorch is imported where it is used: the process that only hands out tests is without it.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from joblib import cpu_count
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

# Where several processes test at once, each has a core; set before PyTorch is imported.
if parallel := "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# What one process has compiled the many others read, even where Python is told not to keep it.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    sys.dont_write_bytecode = False

# A job in the background ignores interrupts, and so would all programs that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import mibench.apps.batch  # noqa: F401 (before nbformat, which it makes quick to import)
from mibench.attacks import ATTACKS
from mibench.data.base import DATASETS
from mibench.models import MODELS
from tests import installation

if TYPE_CHECKING:
    from mibench.study.study import Study

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
    from mibench.study.study import Study

    return Study.read(
        {"dataset": dataset, **setting}, {"cache_dir": cache_dir, "data_dir": data_dir}
    )


# In one process: their kernels are forks of one server, whose imports take as long as many tests.
FORKING = ("test_conflicts", "test_batch", "test_notebooks", "test_cli", "test_cluster")

# Begun first, the longest before the others, so that at the end no process works on one alone.
LONG = (
    *(*FORKING, "test_widgets", "test_browser", "test_audit"),
    *("test_further_attacks", "test_report", "test_audit_model", "test_training"),
    *("test_figures", "test_construction", "test_wheel", "test_models", "test_published"),
    *("test_groups", "test_properties", "test_signals"),
)


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: some tests wait for programs that they start."""
    return cpu_count() + 1


class Together(LoadFileScheduling):
    """A file's tests go to one process, and those of all :data:`FORKING` files."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "forking" if Path(file).stem in FORKING else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Together:
    return Together(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONG)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What imports make stays, so that to look through it again and again finds no garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


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
    return study("Location30", cache_dir, shared_data, distilled=8)


@pytest.fixture
def forked_kernels() -> None:
    """Kernels start as in a batch: as forks, for all tests of a process, of one that imports."""
    from mibench.apps.batch import kernels

    kernels.use_forked_kernels(1)


@pytest.fixture(autouse=True)
def catalogues(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds to a catalogue is not there for the next."""
    from mibench.adapters.base import ADAPTERS

    for catalogue in (ATTACKS, MODELS, DATASETS, ADAPTERS):
        monkeypatch.setattr(catalogue, "_things", dict(catalogue._all()))
