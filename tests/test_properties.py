"""Whatever comes in from outside ends in a result or in one sentence, soon and in little memory.

200 cases of each are in the suite; ``pytest tests/test_properties.py --hypothesis-profile long``
tries 10,000 others.
"""

import resource
import string
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import event, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from mibench import scenarios
from mibench.apps.batch.plan import plan
from mibench.data.base import DATASETS
from mibench.data.loading import load
from mibench.errors import MIBenchError
from mibench.setting import Place, Setting
from mibench.store import Store
from mibench.study.audit import audit_file
from tests.test_audit import everything


@pytest.fixture(scope="module", autouse=True)
def memory() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("properties")
    (made / "notebooks").symlink_to(Path(__file__).parents[1] / "notebooks")
    (made / "parameters").mkdir()
    return made


def one_sentence(error: MIBenchError) -> None:
    event("refused")
    assert len(str(error).splitlines()) == 1 and str(error).strip()


NUMBERS = st.integers(-(10**20), 10**20) | st.integers(-3, 12) | st.floats()
TEXTS = (
    st.text(max_size=12)
    | st.text(string.printable, max_size=8)
    | st.sampled_from(["all", "digits", "/", "..", "~", "ES10", "MLP", "none", "cpu", "groups"])
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TEXTS | st.sampled_from(["name", "members", "gamma"]), inner, max_size=3)
    ),
    max_leaves=5,
)
FIELDS = st.sampled_from([*Setting.model_fields, "attacks", "data_dir", "scenario", "base", "x"])
OPEN = st.sampled_from(["scenario", "rq1_distribution", "results", "explore", "published"])
ENTRIES = (
    OPEN
    | VALUES
    | st.fixed_dictionaries(
        {"notebook": OPEN},
        optional={
            "parameters": st.dictionaries(FIELDS, VALUES, max_size=2) | VALUES,
            "grid": st.dictionaries(FIELDS, st.lists(VALUES, max_size=2), max_size=2) | VALUES,
            "name": TEXTS,
        },
    )
)
FILES = st.fixed_dictionaries(
    {"notebooks": st.lists(ENTRIES, min_size=1, max_size=3)},
    optional={
        "defaults": st.dictionaries(FIELDS, VALUES, max_size=2) | VALUES,
        "seeds": st.lists(NUMBERS, max_size=2) | VALUES,
        "time_limit": VALUES,
    },
).map(yaml.safe_dump)


@given(text=FILES | st.text(string.printable), place=st.none() | st.tuples(st.integers(0), TEXTS))
def test_parameter_files(folder: Path, text: str, place: tuple[int, str] | None) -> None:
    if place is not None:
        where = place[0] % (len(text) + 1)
        text = text[:where] + place[1] + text[where:]
    file = folder / "parameters" / "p.yaml"
    file.write_text(text, encoding="utf-8", errors="replace")
    try:
        tasks = plan(file, {"cache_dir": str(folder / "cache")})
    except MIBenchError as error:
        one_sentence(error)
    else:
        assert tasks
    assert not (folder / "executed").exists()


LABELS = st.sampled_from([s.label for name in DATASETS for s in scenarios.catalogue(name)])


@given(
    label=LABELS,
    cut=st.integers(0),
    put=TEXTS,
    drop=st.integers(0, 4),
    dataset=st.none() | st.sampled_from([*DATASETS]) | TEXTS,
)
def test_scenario_labels(label: str, cut: int, put: str, drop: int, dataset: str | None) -> None:
    assert scenarios.find(label).label == label
    where = cut % (len(label) + 1)
    try:
        found = scenarios.find(label[:where] + put + label[where + drop :], dataset)
    except MIBenchError as error:
        one_sentence(error)
    else:
        assert scenarios.find(found.label) == found


GOOD = everything(shadows=1, references=2, n=24, a=12)
ODD = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -1.0, 1.0, 0.5, 1e-45, 1e300, 7.0])
TYPES = st.sampled_from(["f8", "f4", "f2", "i8", "i1", "u1", "?", "U3", "M8[s]", "c16", ">f8"])


@st.composite
def changed(draw: Any) -> dict[str, Any]:
    """Return the arrays of an audit, some of which are something else."""
    kept = draw(st.sets(st.sampled_from(sorted(GOOD)), max_size=len(GOOD)))
    made = {n: a for n, a in GOOD.items() if n in kept or n.startswith("target_")}
    for name in draw(st.lists(st.sampled_from(sorted(made)), max_size=3)):
        array = np.array(made[name])
        match draw(st.integers(0, 5)):
            case 0:
                array = array.astype(draw(TYPES))
            case 1:
                array = array.reshape(array.shape[::-1])
            case 2:
                array = array[..., : draw(st.integers(0, 3))]
            case 3 if array.dtype.kind == "f" and array.size:
                array.flat[draw(st.integers(0, array.size - 1))] = draw(ODD)
            case 4:
                array = np.full(array.shape, draw(ODD))
            case _:
                array = draw(arrays_of.arrays(np.float64, arrays_of.array_shapes(min_side=0)))
        made[draw(st.just(name) | st.sampled_from(sorted(GOOD)))] = array
    return made


@pytest.mark.filterwarnings("ignore")
@given(arrays=changed(), damage=st.lists(st.tuples(st.integers(0), st.integers(0, 255))))
def test_audit_files(folder: Path, arrays: dict[str, Any], damage: list[tuple[int, int]]) -> None:
    file = folder / "audit.npz"
    np.savez(file, **arrays)
    content = bytearray(file.read_bytes())
    for where, value in damage:
        content[where % len(content)] = value
    file.write_bytes(content)
    try:
        report = audit_file(file)
    except MIBenchError as error:
        one_sentence(error)
    else:
        aucs = report.table["auc"].dropna()
        assert ((aucs >= 0) & (aucs <= 1)).all()


CELLS = st.sampled_from(["0", "1", "2.5", "01", "NA", "", "nan", "a", '"', "1e999"]) | TEXTS
ROWS = st.lists(
    st.tuples(st.sampled_from("ab") | CELLS, NUMBERS.map(str) | CELLS, CELLS).map(list), max_size=40
)
OWN_ARRAYS = st.fixed_dictionaries(
    {},
    optional={
        name: arrays_of.arrays(kind, arrays_of.array_shapes(min_dims=dims, max_dims=5, min_side=0))
        for name, kind, dims in (
            ("inputs", arrays_of.scalar_dtypes(), 0),
            ("labels", arrays_of.scalar_dtypes(), 0),
        )
    },
)


@given(rows=ROWS, header=st.permutations(["label", "x", "y"]) | ROWS.map(lambda r: (r or [[]])[0]))
def test_own_tables(folder: Path, rows: list[list[str]], header: list[str]) -> None:
    text = "\n".join(",".join(row) for row in [header, *rows])
    file = folder / "own.csv"
    file.write_text(text, encoding="utf-8", errors="replace")
    table = pd.DataFrame({f"{i}{name}": [row[i] for row in rows] for i, name in enumerate("xyz")})
    table.rename(columns={"0x": "label"}).to_parquet(folder / "own.parquet")
    for name in ("own.csv", "own.parquet"):
        loads(folder, name)


@given(arrays=OWN_ARRAYS)
def test_own_arrays(folder: Path, arrays: dict[str, Any]) -> None:
    np.savez(folder / "own.npz", **arrays)
    loads(folder, "own.npz")


def loads(folder: Path, name: str) -> None:
    try:
        made = load(str(folder / name), Place.read({"cache_dir": str(folder / "cache")}))
    except MIBenchError as error:
        one_sentence(error)
    else:
        assert len(made.inputs) == len(made.labels) and made.num_classes > 1
        assert np.isfinite(made.inputs).all()


@given(
    array=arrays_of.arrays(arrays_of.floating_dtypes() | arrays_of.integer_dtypes(), (4, 3)),
    damage=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1),
    end=st.none() | st.integers(0),
)
def test_stored_arrays(
    folder: Path, array: Any, damage: list[tuple[int, int]], end: int | None
) -> None:
    store, key = Store(folder / "store"), {"what": "a"}
    path = store.file("kind", key, ".npz")
    path.unlink(missing_ok=True)
    store.get("kind", key, lambda: {"array": array})
    content = bytearray(path.read_bytes())
    for where, value in damage:
        content[where % len(content)] = value
    path.write_bytes(content if end is None else content[: end % len(content)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = store.get("kind", key, lambda: {"array": array})
    np.testing.assert_array_equal(found["array"], array, strict=True)
