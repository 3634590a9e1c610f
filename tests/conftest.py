"""Data and experiments that tests share."""

from pathlib import Path

import pytest

from mibench.study.study import Experiment


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data files, beside a checkout of the project's own."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no folder shared/data with the real data files beside this checkout")
    return folder


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def digits(cache_dir: Path) -> Experiment:
    return Experiment("digits", cache_dir=cache_dir)


@pytest.fixture(scope="session")
def location30(shared_data: Path, cache_dir: Path) -> Experiment:
    return Experiment("Location30", data_dir=shared_data, cache_dir=cache_dir)
