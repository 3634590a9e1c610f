import dataclasses
import gzip
import http.server
import io
import os
import pickle
import re
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pooch
import pytest
import requests
from click.testing import CliRunner
from PIL import Image
from sklearn.datasets import load_digits

from mibench import scenarios
from mibench.apps.cli import main
from mibench.catalogue import load_plugins
from mibench.data import cache as parsed_cache
from mibench.data import digits, downloads, loading, own
from mibench.data.base import DATASETS, Dataset, Parsed, SplitSizes
from mibench.data.splits import sizes_of, split
from mibench.errors import MIBenchError
from mibench.setting import Place, Setting
from mibench.signals import perturbations
from mibench.study.study import Study

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MIBENCH_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def load(name: str, data_dir: Path | None = None, sizes: Any = None) -> Dataset:
    return loading.load(name, Place.read({"data_dir": data_dir}), sizes)


def altered(monkeypatch: pytest.MonkeyPatch, name: str, **changes: Any) -> None:
    known = dataclasses.replace(DATASETS[name], **changes)
    monkeypatch.setitem(DATASETS._things, name, known)


def expect_rows(monkeypatch: pytest.MonkeyPatch, name: str, rows: int) -> None:
    """Let files that a test makes stand for the published ones."""
    few = dataclasses.replace(SplitSizes.equal(rows // 5), pairs=2)
    altered(monkeypatch, name, rows=rows, sizes=few, digests={})


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def write_folder(path: Path, members: dict[str, bytes]) -> None:
    for name, content in members.items():
        path.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        path.joinpath(name).write_bytes(content)


class Python2Pickler(pickle._Pickler):
    """Writes byte strings with the opcode that Python 2, which made CIFAR's files, used."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

    def save_python2_string(self, text: bytes) -> None:
        self.write(pickle.BINSTRING + len(text).to_bytes(4, "little") + text)
        self.memoize(text)

    dispatch[bytes] = save_python2_string


def python2_pickle(content: object) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, 2).dump(content)
    return file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


TEN = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def cifar(name: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], list[str]]:
    """Return small pixels and labels of the batches of CIFAR10 or CIFAR100."""
    batches, classes = (TEN, 10) if name == "CIFAR10" else (["train", "test"], 100)
    pixels = RNG.integers(0, 256, (len(batches), 100, 3072), dtype=np.uint8)
    labels = np.stack([RNG.permutation(100) % classes for _ in batches])
    return pixels, labels, batches


def cifar_members(name: str, form: str) -> tuple[dict[str, bytes], Any, Any]:
    pixels, labels, batches = cifar(name)
    members = {}
    for batch, rows, answers in zip(batches, pixels, labels, strict=True):
        if form == "python":
            key = b"labels" if name == "CIFAR10" else b"fine_labels"
            content: dict[bytes, object] = {b"batch_label": b"x", b"data": rows}
            content |= {b"filenames": [b"a.png"], key: [int(a) for a in answers]}
            if name == "CIFAR100":
                content[b"coarse_labels"] = [int(a) // 5 for a in answers]
            members[batch] = python2_pickle(content)
        else:
            before = (
                [answers[:, None]] if name == "CIFAR10" else [np.zeros((100, 1)), answers[:, None]]
            )
            members[f"{batch}.bin"] = np.hstack([*before, rows]).astype(np.uint8).tobytes()
    return members, pixels.reshape(-1, 3, 32, 32), labels.ravel()


CIFAR_FORMS = [
    ("CIFAR10", "python", "cifar-10-python.tar.gz", "cifar-10-batches-py"),
    ("CIFAR10", "binary", "cifar-10-binary.tar.gz", "cifar-10-batches-bin"),
    ("CIFAR100", "python", "cifar-100-python.tar.gz", "cifar-100-python"),
    ("CIFAR100", "binary", "cifar-100-binary.tar.gz", "cifar-100-binary"),
]


@pytest.mark.parametrize(("name", "form", "archive", "folder"), CIFAR_FORMS)
@pytest.mark.parametrize("unpacked", [False, True])
def test_cifar(
    name: str,
    form: str,
    archive: str,
    folder: str,
    unpacked: bool,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    members, pixels, labels = cifar_members(name, form)
    expect_rows(monkeypatch, name, len(labels))
    if unpacked:
        write_folder(data / folder, members)
    else:
        write_tar(data / archive, {f"{folder}/{n}": c for n, c in members.items()})
    found = load(name.lower(), data)
    assert found.name == name and found.kind == "image" and found.inputs.dtype == np.uint8
    np.testing.assert_array_equal(found.inputs, pixels)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.take(np.array([3, 1])), pixels[[3, 1]] / 255, rtol=1e-6)


class Malicious:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_a_malicious_pickle_is_not_run(
    data: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    altered(monkeypatch, "CIFAR10", digests={})
    members, *_ = cifar_members("CIFAR10", "python")
    members["data_batch_3"] = pickle.dumps({b"data": Malicious(tmp_path / "owned")}, 2)
    write_tar(data / "cifar-10-python.tar.gz", {f"x/{n}": c for n, c in members.items()})
    with pytest.raises(MIBenchError, match=r"cifar-10-python.tar.gz: data_batch_3 is not a CIFAR"):
        load("CIFAR10", data)
    assert not (tmp_path / "owned").exists()
    assert [p.suffix for p in cache.rglob("*") if p.is_file()] in ([], [".lock"])


class Pickled:
    """Pickles as a call of something with arguments and a state."""

    def __init__(self, *reduced: Any):
        self.reduced = reduced

    def __reduce__(self) -> Any:
        return self.reduced


def test_a_pickled_type_never_reaches_numpy(data: Path) -> None:
    """A type's state could claim that bytes are addresses of objects."""
    members, *_ = cifar_members("CIFAR10", "python")
    field = {"a": (np.dtype("O"), 0)}
    kind = Pickled(np.dtype, ("V8", False, True), (4, "|", None, ("a",), field, 8, 1, 0, None))
    state = (1, (4,), kind, False, b"\x41" * 32)
    array = Pickled(np.empty(0).__reduce__()[0], (np.ndarray, (0,), b"b"), state)
    members["data_batch_3"] = pickle.dumps({b"data": array, b"labels": [0] * 4}, 4)
    write_tar(data / "cifar-10-python.tar.gz", {f"x/{n}": c for n, c in members.items()})
    # In a process of its own, which would crash.
    script = """
import dataclasses, sys
from mibench.data.base import DATASETS, register
from mibench.data.loading import load
from mibench.setting import Place
register(dataclasses.replace(DATASETS["CIFAR10"], digests={}))
load("CIFAR10", Place(data_dir=sys.argv[1]))"""
    done = subprocess.run([sys.executable, "-c", script, data], capture_output=True, text=True)
    assert done.returncode == 1 and "data_batch_3 is not a CIFAR batch" in done.stderr


def broken_cifar(members: dict[str, bytes], how: str) -> dict[str, bytes]:
    first = members["data_batch_1"]
    if how == "missing":
        del members["data_batch_4"]
    elif how == "outside":
        members["../../escaped"] = b"x"
    elif how == "cut pickle":
        members["data_batch_1"] = first[:5000]
    elif how == "no labels":
        members["data_batch_1"] = first.replace(b"labels", b"babels")
    elif how == "one row less":
        pixels = np.zeros((99, 3072), np.uint8)
        content = {b"data": pixels, b"labels": [0] * 99}
        members["data_batch_1"] = python2_pickle(content)
    elif how == "wrong class":
        content = {b"data": np.zeros((100, 3072), np.uint8), b"labels": [10] * 100}
        members["data_batch_1"] = python2_pickle(content)
    return members


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("missing", "no file 'data_batch_4'"),
        ("outside", "lies outside of it"),
        ("cut pickle", "not a CIFAR batch"),
        ("no labels", "not a label a row"),
        ("one row less", "expected 600 samples .*, found 599"),
        ("wrong class", "expected 10 classes, found 11"),
    ],
)
def test_broken_cifar(
    how: str, says: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members, _, labels = cifar_members("CIFAR10", "python")
    expect_rows(monkeypatch, "CIFAR10", len(labels))
    write_tar(data / "cifar-10-python.tar.gz", broken_cifar(members, how))
    before = {p for p in tmp_path.rglob("*") if "cache" not in p.parts}
    with pytest.raises(MIBenchError, match=says) as error:
        load("CIFAR10", data)
    assert "cifar-10-python.tar.gz" in str(error.value) and "\n" not in str(error.value)
    assert {p for p in tmp_path.rglob("*") if "cache" not in p.parts} == before


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        ("CIFAR10", "cifar-10-python.tar.gz"),
        ("CIFAR100", "cifar-100-binary.tar.gz"),
        ("ImageNet", "tiny-imagenet-200.zip"),
        ("Texas100", "dataset_texas.tgz"),
    ],
)
@pytest.mark.parametrize("share", [0, 0.5])
def test_a_truncated_archive_is_named(
    name: str, archive: str, share: float, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    altered(monkeypatch, name, digests={})
    members = {f"f/{i}": RNG.bytes(20_000) for i in range(10)}
    (write_zip if archive.endswith("zip") else write_tar)(data / archive, members)
    whole = (data / archive).read_bytes()
    (data / archive).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(MIBenchError, match=f"{archive} cannot be read") as error:
        load(name, data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("how", ["cut between members", "damaged header", "damaged bytes"])
def test_a_tar_archive_that_breaks_off_is_not_read_in_part(how: str, data: Path) -> None:
    path = data / "pets.tar.gz"
    write_tar(path, image_members())
    assert len(load(str(path)).labels) == 60
    plain = gzip.decompress(path.read_bytes())
    with tarfile.open(path) as archive:
        middle = archive.getmembers()[40].offset
    if how == "cut between members":
        path.write_bytes(gzip.compress(plain[:middle]))
    elif how == "damaged header":
        path.write_bytes(gzip.compress(plain[:middle] + b"\1" * 512 + plain[middle + 512 :]))
    else:
        # Stored as it is, so that only the checksum at the end tells.
        stored = bytearray(gzip.compress(plain, 0))
        stored[stored.index(b"IEND") + 1] ^= 1
        path.write_bytes(stored)
    with pytest.raises(MIBenchError, match=r"pets.tar.gz cannot be read") as error:
        load(str(path))
    assert "\n" not in str(error.value)


def encoded(pixels: np.ndarray[Any, Any], form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def test_ch_mnist(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = [f"0{i + 1}_X" for i in range(8)]
    grey = {c: 20 * i for i, c in enumerate(classes)}
    top = "Kather_texture_2016_image_tiles_5000"
    members = {
        f"{top}/{c}/{i}_CRC_Row_{i}_Col_1.tif": encoded(
            np.full((150, 150, 3), grey[c] + i, np.uint8), "TIFF"
        )
        for c in reversed(classes)
        for i in range(5)
    }
    expect_rows(monkeypatch, "CH_MNIST", 40)
    write_zip(data / f"{top}.zip", members)
    found = load("ch_mnist", data)
    assert found.inputs.shape == (40, 3, 64, 64)
    np.testing.assert_array_equal(found.labels, np.repeat(np.arange(8), 5))
    wanted = [grey[c] + i for c in classes for i in range(5)]
    np.testing.assert_array_equal(found.inputs[:, 1, 30, 30], wanted)
    write_zip(data / f"{top}.zip", members | {f"{top}/01_X/0_CRC_Row_0_Col_1.tif": b"II*\0"})
    with pytest.raises(MIBenchError, match=r"image '.*0_CRC_Row_0_Col_1.tif' cannot be read"):
        load("CH_MNIST", data)
    small = encoded(np.zeros((64, 64, 3), np.uint8), "TIFF")
    write_zip(data / f"{top}.zip", members | {f"{top}/01_X/0_CRC_Row_0_Col_1.tif": small})
    with pytest.raises(MIBenchError, match="has 64 x 64 pixels where the published ones have 150"):
        load("CH_MNIST", data)


def test_tiny_imagenet(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {"tiny-imagenet-200/val/images/val_0.JPEG": b"", "tiny-imagenet-200/wnids.txt": b""}
    for i in range(200):
        shape = (64, 64) if i % 10 == 0 else (64, 64, 3)
        name = f"tiny-imagenet-200/train/n{i:08d}/images/n{i:08d}_0.JPEG"
        members[name] = encoded(np.full(shape, i, np.uint8), "JPEG")
    expect_rows(monkeypatch, "ImageNet", 200)
    write_zip(data / "tiny-imagenet-200.zip", members)
    found = load("imagenet", data)
    assert found.inputs.shape == (200, 3, 64, 64)
    np.testing.assert_array_equal(found.labels, np.arange(200))
    np.testing.assert_allclose(found.inputs.mean(axis=(1, 2, 3)), np.arange(200), atol=1)


def bits_text(bits: np.ndarray[Any, Any], labels: np.ndarray[Any, Any] | None = None) -> bytes:
    table = bits if labels is None else np.column_stack([labels, bits])
    return "".join(",".join(map(str, row)) + "\n" for row in table.tolist()).encode()


@pytest.mark.parametrize("packed", [False, True])
def test_purchase100(packed: bool, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bits, labels = RNG.integers(0, 2, (300, 600)), RNG.permutation(300) % 100 + 1
    expect_rows(monkeypatch, "Purchase100", 300)
    content = bits_text(bits, labels)
    if packed:
        write_tar(data / "dataset_purchase.tgz", {"dataset_purchase": content})
    else:
        (data / "dataset_purchase").write_bytes(content)
    found = load("Purchase100", data)
    assert found.kind == "binary" and found.inputs.dtype == np.uint8
    np.testing.assert_array_equal(found.take(slice(None)), bits)
    np.testing.assert_array_equal(found.labels, labels - 1)


@pytest.mark.parametrize("columns", [6169, 6170])
@pytest.mark.parametrize("packed", [False, True])
def test_texas100(columns: int, packed: bool, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bits, labels = RNG.integers(0, 2, (100, columns)), RNG.permutation(100) + 1
    expect_rows(monkeypatch, "Texas100", 100)
    members = {"texas/100/feats": bits_text(bits), "texas/100/labels": bits_text(labels[:, None])}
    if packed:
        write_tar(data / "dataset_texas.tgz", members)
    else:
        write_folder(data, members)
    found = load("Texas100", data)
    np.testing.assert_array_equal(found.inputs, bits)
    np.testing.assert_array_equal(found.labels, labels - 1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.replace(b",1\n", b",2\n", 1), "holds the value 2"),
        (lambda t: t.replace(b",1\n", b",x\n", 1), "not the published table"),
        (lambda t: t.replace(b",1\n", b",257\n", 1), "not the published table|holds the value"),
        (lambda t: t.replace(b",1\n", b",\n", 1), "not the published table"),
        (lambda t: t + t[: t.index(b"\n") + 1], "expected 300 samples .* found 301"),
        (lambda t: b"101" + t[t.index(b",") :], "expected 100 classes"),
        (lambda t: b"", "not the published table"),
    ],
)
def test_broken_purchase100(
    change: Callable[[bytes], bytes], says: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect_rows(monkeypatch, "Purchase100", 300)
    text = bits_text(RNG.integers(0, 2, (300, 600)), np.arange(300) % 100 + 1)
    (data / "dataset_purchase").write_bytes(change(text))
    with pytest.raises(MIBenchError, match=says) as error:
        load("Purchase100", data)
    assert "dataset_purchase" in str(error.value) and "\n" not in str(error.value)


def test_purchase100_at_full_size_is_mapped_on_second_load(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "dataset_purchase").write_bytes(b"")
    whole = Parsed(
        np.zeros((197_324, 600), np.uint8), np.arange(197_324, dtype=np.int64) % 100, "binary"
    )
    read: list[int] = []

    def reader(_: object) -> Parsed:
        read.append(1)
        return whole

    altered(monkeypatch, "Purchase100", forms={"dataset_purchase": reader})
    first, second = (load("Purchase100", data) for _ in range(2))
    assert len(read) == 1 and isinstance(second.inputs, np.memmap)
    assert first.checksum == second.checksum and second.sizes.members == 19_732


def test_location30(shared_data: Path, data: Path) -> None:
    found = load("LOCATION30", shared_data)
    with tarfile.open(shared_data / "dataset_location.tgz") as archive:
        file = archive.extractfile("bangkok")
        assert file is not None
        content = file.read()
    table = np.loadtxt(io.BytesIO(content.replace(b'"', b"")), delimiter=",", dtype=int)
    np.testing.assert_array_equal(found.take(slice(None)), table[:, 1:])
    np.testing.assert_array_equal(found.labels, table[:, 0] - 1)
    (data / "bangkok").write_bytes(content)
    assert load("Location30", data).checksum == found.checksum
    assert found.sizes == SplitSizes(1000, 1000, 1000, 1000, 1010, pairs=300)


def test_digits() -> None:
    found = load("Digits")
    assert found.inputs.shape == (1797, 1, 8, 8) and found.num_classes == 10
    assert found.inputs.min() == 0 and found.inputs.max() == 1
    roles = split(found, np.random.default_rng(0))
    assert [len(v) for v in roles.values()] == [400, 400, 350, 350, 297]
    assert len(np.unique(np.concatenate(list(roles.values())))) == 1797
    again, other = split(found, np.random.default_rng(0)), split(found, np.random.default_rng(1))
    assert all((roles[r] == again[r]).all() for r in roles)
    assert not (roles["members"] == other["members"]).all()


def test_published_sizes_fit_the_published_rows() -> None:
    for known in DATASETS.values():
        for sizes in filter(None, (known.sizes, known.published_sizes)):
            assert sum(dataclasses.astuple(sizes)[:-2]) <= known.rows
    assert sum(dataclasses.astuple(DATASETS["CH_MNIST"].sizes)[:-2]) == 5000


def test_default_pools_are_equal_and_hold_enough_groups() -> None:
    """Groups are of 10 members and 10 nonmembers, and at least 36."""
    for known in DATASETS.values():
        assert known.sizes.members == known.sizes.nonmembers >= 360


def test_the_published_order_of_cifar() -> None:
    """Members are training images 40,000 on, nonmembers the test images."""
    known = DATASETS["CIFAR10"]
    sizes = sizes_of("CIFAR10", 60_000, "published", known)
    rows = np.zeros((60_000, 1), np.uint8), np.arange(60_000)
    data = Dataset("CIFAR10", *rows, "image", "", sizes, known.first_rows)
    roles = split(data, np.random.default_rng(0))
    np.testing.assert_array_equal(roles["members"], np.arange(40_000, 50_000))
    np.testing.assert_array_equal(roles["nonmembers"], np.arange(50_000, 60_000))
    np.testing.assert_array_equal(roles["shadow_members"], np.arange(10_000))
    np.testing.assert_array_equal(roles["shadow_nonmembers"], np.arange(10_000, 20_000))
    assert len(np.unique(np.concatenate(list(roles.values())))) == 50_000


@pytest.mark.parametrize("name", ["digits", "CH_MNIST", "mine"])
def test_published_sizes_that_cannot_be_had(name: str) -> None:
    with pytest.raises(MIBenchError, match=f"no published sizes of {name}"):
        sizes_of(name, 5000, "published", DATASETS.get(name))


def table_of(rows: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "age": RNG.normal(40, 9, rows),
            "town": np.array(["Oslo", "Rome"])[np.arange(rows) % 2],
            "label": np.array(["no", "yes", "no"])[np.arange(rows) % 3],
        }
    )


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_own_table(ending: str, data: Path) -> None:
    table, path = table_of(60), data / f"my-patients{ending}"
    table.to_csv(path, index=False) if ending == ".csv" else table.to_parquet(path)
    found = load(str(path))
    assert found.name == "my_patients" and found.kind == "real"
    age = table["age"].to_numpy()
    wanted = np.column_stack([(age - age.min()) / np.ptp(age), table["town"] == "Oslo"])
    np.testing.assert_allclose(found.inputs[:, :2], wanted, atol=1e-6)
    np.testing.assert_array_equal(found.labels, table["label"] == "yes")
    assert found.sizes == SplitSizes(12, 12, 12, 12, 12, pairs=3, group=5)
    assert load(f"{path}::town").num_classes == 2
    with pytest.raises(MIBenchError, match=r"no label column 'x'; .* age, town, label"):
        load(f"{path}::x")


@pytest.mark.parametrize("shape", [(60, 8, 8), (60, 3, 8, 8), (60, 8, 8, 3)])
def test_own_npz_of_images(shape: tuple[int, ...], data: Path) -> None:
    images, labels = RNG.integers(0, 256, shape, dtype=np.uint8), np.arange(60) % 4 + 7
    np.savez(data / "a.npz", inputs=images, labels=labels)
    found = load(str(data / "a.npz"))
    assert found.kind == "image" and found.inputs.shape[1:] == (1 if len(shape) == 3 else 3, 8, 8)
    last = images[5] if shape[1:] != (8, 8, 3) else images[5].transpose(2, 0, 1)
    np.testing.assert_array_equal(found.inputs[5].reshape(last.shape), last)
    np.testing.assert_array_equal(found.labels, labels - 7)


def test_own_npz_of_records(data: Path) -> None:
    np.savez(data / "b.npz", inputs=RNG.integers(0, 2, (60, 5)), labels=np.arange(60) % 2)
    assert load(str(data / "b.npz")).kind == "binary"


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"inputs": np.zeros((60, 2))}, "no array 'labels', only inputs"),
        ({"inputs": np.zeros((60, 2)), "labels": np.zeros(60)}, "one class only"),
        ({"inputs": np.zeros((60, 2)), "labels": np.arange(59)}, "do not go together"),
        ({"inputs": np.full((60, 2), np.nan), "labels": np.arange(60) % 2}, "not finite"),
        ({"inputs": np.full((60, 1, 4, 4), 7.0), "labels": np.arange(60) % 2}, "in \\[0, 1\\]"),
        ({"inputs": np.zeros((60, 2)), "labels": np.arange(60) / 7}, "no whole numbers"),
        ({"inputs": np.zeros((60, 2)), "labels": np.full(60, np.inf)}, "no whole numbers"),
        ({"inputs": np.float64(3), "labels": np.arange(60) % 2}, "do not go together"),
        ({"inputs": np.zeros((60, 8, 0)), "labels": np.arange(60) % 2}, "holds no features"),
        ({"inputs": np.zeros((20, 2)), "labels": np.arange(20) % 2}, "at least 50"),
        ({"inputs": np.array([{}] * 60), "labels": np.arange(60) % 2}, "holds Python objects"),
    ],
)
def test_own_npz_that_cannot_serve(arrays: dict[str, Any], says: str, data: Path) -> None:
    np.savez(data / "c.npz", **arrays)
    with pytest.raises(MIBenchError, match=says):
        load(str(data / "c.npz"))


def test_own_records_of_any_range_are_scaled(data: Path) -> None:
    inputs = np.where(np.arange(60)[:, None] % 2, 1e308, -1e308) * np.array([1.0, 0.5])
    inputs[0] = 0
    np.savez(data / "wide.npz", inputs=inputs, labels=np.arange(60) % 3)
    found = load(str(data / "wide.npz")).inputs
    np.testing.assert_allclose(found[1:], np.tile((np.arange(60)[1:, None] % 2), 2))
    np.testing.assert_allclose(found[0], 0.5)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.npz", b"PK\x03\x04 and no more", "a.npz is not a complete NPZ file"),
        ("a.csv", "a,label\n1,1\n1,2,3,4\n", "a.csv is not a readable .csv file .*line 3"),
        ("a.csv", "label\n" + "1\n2\n" * 30, "a.csv holds no features"),
        (
            "a.parquet",
            {"day": pd.date_range("2020-01-01", periods=60)},
            "neither numbers nor texts",
        ),
        ("a.parquet", {"list": [[1], [2]] * 30}, "column 'list' holds neither numbers nor texts"),
        ("A.CSV", "a,label\n" + "1,\n2,3\n" * 30, "A.CSV: column 'label' has empty cells"),
    ],
)
def test_own_files_that_cannot_serve(name: str, content: Any, says: str, data: Path) -> None:
    if isinstance(content, dict):
        pd.DataFrame(content | {"label": np.arange(60) % 2}).to_parquet(data / name)
    else:
        (data / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(MIBenchError, match=says) as error:
        load(str(data / name))
    assert "\n" not in str(error.value)


def image_members(prefix: str = "") -> dict[str, bytes]:
    """Return 60 images of two classes, one of them of another size."""
    return {
        f"{prefix}{part}/{kind}/{i}.png": encoded(
            np.full((8, 9 if i else 12, 3), 10 * i + shade, np.uint8), "PNG"
        )
        for part in ("train", "test")
        for kind, shade in (("cat", 0), ("dog", 5))
        for i in range(15)
    }


@pytest.mark.parametrize("form", ["folder", "set.tar.gz", "set.zip"])
def test_own_image_folder(form: str, data: Path) -> None:
    members = image_members("top/") | {"top/README.md": b"", "top/train/cat/._0.png": b"x"}
    path = data / form
    write = {"folder": write_folder, "set.zip": write_zip}.get(form, write_tar)
    write(path, members)
    found = load(str(path))
    assert found.inputs.shape == (60, 3, 8, 9) and found.name == form.split(".")[0]
    names = sorted(image_members("top/"))
    np.testing.assert_array_equal(found.labels, ["dog" in n for n in names])
    shades = [10 * int(Path(n).stem) + 5 * ("dog" in n) for n in names]
    np.testing.assert_array_equal(found.inputs[:, 0, 4, 4], shades)


def test_links_in_an_own_image_folder(data: Path) -> None:
    write_folder(data / "real", image_members())
    (data / "pets").mkdir()
    for name in ("train", "test"):
        (data / "pets" / name).symlink_to(data / "real" / name)
    assert len(load(str(data / "pets")).labels) == 60
    (data / "pets" / "again").symlink_to(data / "pets")
    with pytest.raises(MIBenchError, match=r"again leads to .*pets, which is in it already"):
        load(str(data / "pets"))
    (data / "pets" / "again").unlink()
    (data / "real" / "test" / "cat" / "gone.png").symlink_to(data / "nowhere")
    with pytest.raises(MIBenchError, match=r"pets cannot be read .*gone\.png"):
        load(str(data / "pets"))


def test_an_own_folder_named_like_a_published_dataset(data: Path) -> None:
    write_folder(data / "CIFAR10", image_members())
    assert load(str(data / "CIFAR10")).name == "CIFAR10_own"


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"a.txt": b""}, "holds no images"),
        ({"a.png": b""}, "lies in no folder of a class"),
        ({"x/a.png": b"no image"}, "image 'x/a.png' cannot be read"),
        ({"x/../../a.png": b""}, "lies outside of it"),
    ],
)
def test_own_images_that_cannot_serve(members: dict[str, bytes], says: str, data: Path) -> None:
    write_zip(data / "own.zip", members)
    with pytest.raises(MIBenchError, match=says):
        load(str(data / "own.zip"))


def test_real_images_from_an_archive(shared_data: Path, data: Path) -> None:
    with tarfile.open(shared_data / "cifar10_jpeg.tar.xz") as archive:
        members = {}
        for member in archive:
            if member.name.endswith(".jpg") and Path(member.name).stem < "0020":
                file = archive.extractfile(member)
                assert file is not None
                members[member.name] = file.read()
            if len(members) == 200:
                break
    write_tar(data / "some.tar.gz", members)
    found = load(str(data / "some.tar.gz"))
    assert found.inputs.shape == (200, 3, 32, 32) and found.num_classes == 10
    name = sorted(members)[7]
    wanted = np.asarray(Image.open(io.BytesIO(members[name]))).transpose(2, 0, 1)
    np.testing.assert_array_equal(found.inputs[7], wanted)


def test_a_changed_file_is_read_anew_and_a_broken_copy_made_anew(data: Path, cache: Path) -> None:
    path = data / "t.csv"
    table_of(60).to_csv(path, index=False)
    first = load(str(path))
    assert load("t.csv", data).checksum == first.checksum
    table_of(60).to_csv(path, index=False)
    assert load(str(path)).checksum != first.checksum
    assert len(list(cache.rglob("inputs.npy"))) == 2
    for kept in cache.rglob("inputs.npy"):
        kept.write_bytes(kept.read_bytes()[:50])
    assert load(str(path)).inputs.shape == (60, 3)
    assert not list(cache.rglob(".parsing-*"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("CIFR10", "did you mean CIFAR10"),
        ("nowhere/data.csv", "does not exist"),
        ("Purchase100", "fetch it from https://github.com/privacytrustlab"),
        ("Texas100", "no published checksum"),
    ],
)
def test_what_cannot_be_found(name: str, says: str) -> None:
    with pytest.raises(MIBenchError, match=says):
        load(name)


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"member": 3}, "there is no 'member'; known are members"),
        ({"members": 10**6}, "splits ask for"),
        ({"pairs": 401}, "401 pairs cannot be drawn"),
    ],
)
def test_sizes_that_cannot_be_had(sizes: dict[str, int], says: str) -> None:
    with pytest.raises(MIBenchError, match=says):
        load("digits", sizes=sizes)


def test_sizes_reach_splits_and_rows(tmp_path: Path) -> None:
    sizes = {"members": 370, "nonmembers": 370, "pairs": 50}
    study = Study(Setting(epochs=2, sizes=sizes, construction="pairs"))
    table, answers = study.run(["ES10"], ["gap"])
    assert len(study.signals.roles["members"]) == 370
    row = table.iloc[0]
    assert row["size_members"] == 370 and row["size_pairs"] == 50 and row["status"] == "ok"
    assert len(answers) == 100


def test_size_option() -> None:
    bad = CliRunner().invoke(main, ["attack", "gap", "--sizes", "members"])
    assert bad.exit_code == 2 and "it must be 'published'" in bad.stderr
    bad = CliRunner().invoke(main, ["attack", "gap", "--sizes", "members=9000"])
    assert bad.exit_code == 2 and "lower some" in bad.stderr


def test_datasets_command(data: Path) -> None:
    (data / "bangkok").touch()
    out = CliRunner().invoke(main, ["datasets", "--data-dir", str(data)]).stdout
    assert f"found: {data / 'bangkok'}" in " ".join(out.split()) and all(n in out for n in DATASETS)


def test_what_is_said_of_files_is_what_loading_does(
    data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object) -> Path:
        raise MIBenchError("would download")

    monkeypatch.setattr(loading, "fetch", fetch)

    def where(name: str, data_dir: Path | None = None) -> str:
        return loading.whereabouts(name, Place.read({"data_dir": data_dir}))

    here = loading.is_here
    assert where("CIFAR10").startswith("downloaded from") and not here("CIFAR10", Place())
    (cache / "downloads").mkdir(parents=True)
    (cache / "downloads" / "cifar-10-python.tar.gz").touch()
    assert where("CIFAR10").startswith("found") and here("CIFAR10", Place())
    # A data directory is the only place that is looked into.
    assert where("CIFAR10", data).startswith(f"not in {data}")
    with pytest.raises(MIBenchError, match="holds none of"):
        load("CIFAR10", data)
    with pytest.raises(MIBenchError, match="would download"):
        load("CIFAR10")
    assert where("Texas100").startswith("by hand") and here("Texas100", Place())


def test_digits_are_those_that_scikit_learn_loads() -> None:
    made, theirs = digits.read(), load_digits()
    np.testing.assert_array_equal(made.inputs[:, 0], (theirs.images / 16).astype(np.float32))
    np.testing.assert_array_equal(made.labels, theirs.target)


def test_real_records_are_perturbed_within_their_range() -> None:
    inputs = RNG.random((50, 6)).astype(np.float32)
    copies = [
        *perturbations.perturbed_copies(inputs, "real", 2, np.random.default_rng(0)),
        perturbations.generated_nonmembers(inputs, "real", np.random.default_rng(0)),
        perturbations.random_points(inputs, "real", 50, np.random.default_rng(0)),
    ]
    for copy in copies:
        assert copy.shape == inputs.shape and copy.min() >= 0 and copy.max() <= 1
        assert 0 < np.abs(copy - inputs).mean() < 0.5
    [noisy] = perturbations.noisy_copies(inputs, "real", 1, np.random.default_rng(0))
    assert np.std(noisy - inputs) == pytest.approx(0.01, rel=0.2)


def test_a_file_that_is_not_the_published_one_is_refused(shared_data: Path, data: Path) -> None:
    """The labels of 200 records altered: rows, shape and classes are still right."""
    with tarfile.open(shared_data / "dataset_location.tgz") as archive:
        file = archive.extractfile("bangkok")
        assert file is not None
        rows = file.read().splitlines(keepends=True)
    for i in range(200):
        label, rest = rows[i].split(b",", 1)
        rows[i] = b'"%d",%b' % (int(label.strip(b'"')) % 30 + 1, rest)
    (data / "bangkok").write_bytes(b"".join(rows))
    with pytest.raises(MIBenchError, match=r"bangkok is not the published file \(sha256 "):
        load("Location30", data)
    write_tar(data / "dataset_location.tgz", {"bangkok": b"".join(rows)})
    (data / "bangkok").unlink()
    with pytest.raises(MIBenchError, match=r"dataset_location.tgz is not the published file"):
        load("Location30", data)


def test_a_batch_in_a_folder_is_compared_with_its_digest(data: Path) -> None:
    members, *_ = cifar_members("CIFAR10", "python")
    write_folder(data / "cifar-10-batches-py", members)
    with pytest.raises(MIBenchError, match=r"_batch\S* is not the published file \(md5 "):
        load("CIFAR10", data)


def test_images_stand_for_a_published_dataset(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {
        f"{part}/{kind}/{i}.jpg": encoded(RNG.integers(0, 256, (32, 32, 3), np.uint8), "JPEG")
        for part in ("train", "test")
        for kind in "abcdefghij"
        for i in range(5)
    }
    write_folder(data / "cifar10_jpeg", members)
    found = load("CIFAR10", data)
    assert found.name == "CIFAR10" and found.inputs.shape == (100, 3, 32, 32)
    assert found.sizes == SplitSizes(20, 20, 20, 20, 20, pairs=6)
    assert found.notes[0] == (
        "read from cifar10_jpeg, not the published file: 100 of 60000 samples"
    )
    with pytest.raises(MIBenchError, match="published order of CIFAR10 is that of the published"):
        load("CIFAR10", data, "published")
    (data / "cifar10_jpeg" / "train" / "k").mkdir()
    (data / "cifar10_jpeg" / "train" / "a" / "0.jpg").rename(
        data / "cifar10_jpeg" / "train" / "k" / "0.jpg"
    )
    with pytest.raises(MIBenchError, match="expected 10 classes, found 11"):
        load("CIFAR10", data)


@pytest.mark.parametrize("file", ["labels.npy", "inputs.npy", "dataset.json"])
def test_a_damaged_copy_is_made_anew_and_said(file: str, data: Path, cache: Path) -> None:
    path = data / "t.csv"
    table_of(60).to_csv(path, index=False)
    first = load(str(path))
    right_inputs = first.inputs.copy()
    [kept] = cache.rglob(file)
    right = kept.read_bytes()
    place = right.index(b'"real"') + 1 if file == "dataset.json" else len(right) - 9
    damaged = bytearray(right)
    damaged[place] ^= 1
    kept.write_bytes(damaged)
    with pytest.warns(UserWarning, match=f"^{re.escape(str(kept.parent))} is damaged; it is"):
        again = load(str(path))
    assert again.checksum == first.checksum and again.kind == "real"
    np.testing.assert_array_equal(again.labels, first.labels)
    np.testing.assert_array_equal(again.inputs, right_inputs)


def test_what_is_mapped_is_compared_once_in_a_process(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table_of(60).to_csv(data / "t.csv", index=False)
    load(str(data / "t.csv"))
    monkeypatch.setattr(parsed_cache, "checksum", lambda *_: pytest.fail("compared again"))
    load(str(data / "t.csv"))


def test_another_reader_reads_anew(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table_of(60).to_csv(data / "t.csv", index=False)
    load(str(data / "t.csv"))
    read: list[int] = []
    reader = own.read

    def counted(*given: Any) -> Parsed:
        read.append(1)
        return reader(*given)

    monkeypatch.setattr(own, "read", counted)
    load(str(data / "t.csv"))
    assert not read
    monkeypatch.setattr("mibench.code.digest", lambda *_: "another")
    load(str(data / "t.csv"))
    assert read


@pytest.mark.parametrize("top", [1, 16, 100])
def test_pixels_of_few_levels_reach_one(top: int, data: Path) -> None:
    grey = RNG.integers(0, top + 1, (60, 8, 8), dtype=np.uint8)
    np.savez(data / "few.npz", inputs=grey, labels=np.arange(60) % 3)
    found = load(str(data / "few.npz"))
    np.testing.assert_allclose(found.take(slice(None))[:, 0], grey / top, rtol=1e-6)
    assert found.notes == (f"pixels 0 to {top} divided by {top}",)


def test_masks_in_an_image_folder_reach_one(data: Path) -> None:
    bits = RNG.integers(0, 2, (60, 8, 8), dtype=np.uint8)
    write_folder(
        data / "m", {f"{i % 2}/{i:02d}.png": encoded(b, "PNG") for i, b in enumerate(bits)}
    )
    np.testing.assert_array_equal(
        load(str(data / "m")).take(slice(None))[:, 0], bits[[*range(0, 60, 2), *range(1, 60, 2)]]
    )


def write_csv(path: Path, header: str, rows: Sequence[tuple[object, ...]]) -> str:
    path.write_text("\n".join([header, *(",".join(map(str, r)) for r in rows)]) + "\n")
    return str(path)


def test_two_label_columns_are_refused(data: Path) -> None:
    path = write_csv(data / "two.csv", "a,label,label", [(i, i % 2, i % 2) for i in range(60)])
    with pytest.raises(MIBenchError, match="several columns of one name, 'label'; rename them"):
        load(path)


def test_classes_are_read_as_texts(data: Path) -> None:
    texts = ["NA", "01", "1", "DE"]
    path = write_csv(data / "texts.csv", "a,label", [(i * 7, texts[i % 4]) for i in range(80)])
    found = load(path)
    assert found.num_classes == 4
    np.testing.assert_array_equal(found.labels[:4], [3, 0, 1, 2])
    assert "label 'label': 01, 1, DE, NA" in found.notes


def test_classes_that_are_numbers_are_in_their_order(data: Path) -> None:
    path = write_csv(data / "n.csv", "a,label", [(i * 7, i % 12) for i in range(120)])
    np.testing.assert_array_equal(load(path).labels, np.arange(120) % 12)
    path = write_csv(data / "z.csv", "a,label", [(i * 7, f"{i % 12:03d}") for i in range(120)])
    np.testing.assert_array_equal(load(path).labels, np.arange(120) % 12)


def test_a_text_among_numbers_is_named(data: Path) -> None:
    rows = [(i / 7 if i != 5 else "NA", i % 2) for i in range(200)]
    with pytest.raises(MIBenchError, match="column 'a' has 200 different texts for 'NA' among its"):
        load(write_csv(data / "na.csv", "a,label", rows))


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("quoted", ["", '""'])
def test_row_numbers_of_pandas_and_r_are_no_feature(start: int, quoted: str, data: Path) -> None:
    rows = [(i + start, i * 7 % 11, i % 2) for i in range(60)]
    found = load(write_csv(data / "r.csv", f"{quoted},a,label", rows))
    assert found.inputs.shape == (60, 1)
    assert "left out: the first column, row numbers without a name" in found.notes
    found = load(write_csv(data / "s.csv", "a,label", rows))
    assert found.inputs.shape == (60, 1)
    # As numbers from 0 they are what pandas counts itself.
    assert ("left out: row names" in found.notes) == (start == 1)
    found = load(write_csv(data / "t.csv", "id,a,label", rows))
    assert found.inputs.shape == (60, 2)


def test_a_number_to_predict_is_no_class(data: Path) -> None:
    np.savez(data / "p.npz", inputs=RNG.random((500, 3)), labels=np.arange(500) * 3.0)
    with pytest.raises(MIBenchError, match="500 values in 500 samples, as a number to predict"):
        load(str(data / "p.npz"))


def test_a_partitioned_parquet_folder(data: Path) -> None:
    table_of(60).to_parquet(data / "parts", partition_cols=["town"])
    found = load(str(data / "parts"))
    assert found.kind == "real" and found.inputs.shape == (60, 3) and found.num_classes == 2


def test_tiny_imagenets_own_layout(data: Path) -> None:
    picture = encoded(np.full((8, 8, 3), 200, np.uint8), "JPEG")
    members = {
        f"{top}/{i}.JPEG": picture
        for top in ("train/n01/images", "train/n02/images", "val/images")
        for i in range(30)
    }
    write_folder(data / "tiny", members)
    found = load(str(data / "tiny"))
    np.testing.assert_array_equal(found.labels, np.repeat([0, 1], 30))
    assert "left out: 30 images in no folder of a class" in found.notes


def test_a_class_may_be_called_train(data: Path) -> None:
    """As one of CIFAR-100 is."""
    picture = encoded(np.full((8, 8, 3), 200, np.uint8), "JPEG")
    write_folder(
        data / "c", {f"train/{k}/{i}.jpg": picture for k in ("sea", "train") for i in range(30)}
    )
    np.testing.assert_array_equal(load(str(data / "c")).labels, np.repeat([0, 1], 30))


def test_what_is_left_out_is_said(data: Path) -> None:
    extra = {f"train/cat/{i}.webp": b"x" for i in range(3)} | {"LICENSE": b""}
    write_folder(data / "pets", image_members() | extra)
    out = CliRunner().invoke(main, ["datasets", str(data / "pets")]).stdout.splitlines()
    assert out == [
        "pets: 60 images (3 x 8 x 9), 2 classes",
        "60 images in the folders of 2 classes",
        "4 images of other sizes resized to 9 x 8",
        "left out: 1 other files",
        "left out: 3 .webp files",
        "pixels 0 to 145 divided by 255",
    ]
    table_of(60).to_csv(data / "t.csv", index=False)
    out = CliRunner().invoke(main, ["datasets", str(data / "t.csv")]).stdout.splitlines()
    assert out[1:] == [
        "label 'label': no, yes",
        "texts, a bit for each: 'town' (2)",
        "numbers: 'age'",
        "each column scaled to [0, 1] over all rows",
    ]


@pytest.mark.parametrize("what", ["fifo", "device", "root", "fifo inside", "npz", "huge", "zip"])
def test_what_is_no_data_is_told_at_once(what: str, data: Path) -> None:
    path, says = data / "x.csv", "is no regular file"
    if what == "fifo":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "root":
        path, says = Path("/"), "folder of all files"
    elif what == "fifo inside":
        write_folder(data / "pets", image_members())
        os.mkfifo(data / "pets" / "train" / "cat" / "x.png")
        path = data / "pets"
    elif what == "npz":
        path, says = data / "x.npz", "unpacks to more than 200 times"
        np.savez_compressed(
            path, inputs=np.zeros((60, 1 << 21), np.uint8), labels=np.arange(60) % 2
        )
    elif what == "huge":
        path, says = data / "x.zip", "100000 x 100000|cannot be read .*exceeds limit"
        head = encoded(np.zeros((1, 1), np.uint8), "PNG")
        chunk = b"IHDR" + (100_000).to_bytes(4, "big") * 2 + head[24:29]
        whole = head[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + head[33:]
        write_zip(path, {"a/x.png": whole})
    else:
        path, says = data / "x.zip", "unpacks to more than 200 times"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/x.png", bytes(1 << 27))
    began = time.perf_counter()
    with pytest.raises(MIBenchError, match=says) as error:
        load(str(path))
    assert time.perf_counter() - began < 1 and "\n" not in str(error.value)


def test_a_tar_that_unpacks_to_a_thousand_times_its_size(data: Path) -> None:
    """Such a one of 1 MB and 1 GiB is refused by its header, before anything is unpacked."""
    header = tarfile.TarInfo("a/b.png")
    header.size = 1 << 30
    (data / "x.tar.gz").write_bytes(gzip.compress(header.tobuf() + bytes(1 << 20)))
    began = time.perf_counter()
    with pytest.raises(MIBenchError, match="unpacks to more than 200 times"):
        load(str(data / "x.tar.gz"))
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("name", ["bomb.parquet", "bomb.npz"])
def test_more_cells_than_memory_are_refused(
    name: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column of one value is a few bytes of a file, and gigabytes when read."""
    label, x = np.arange(500_000) % 2, np.zeros(500_000)
    pd.DataFrame({"label": label, "x": x}).to_parquet(data / "bomb.parquet")
    np.savez_compressed(data / "bomb.npz", inputs=x[:, None], labels=label)
    monkeypatch.setattr("mibench.data.npz.memory", lambda: 15_000_000)
    with pytest.raises(MIBenchError, match="unpacks to"):
        load(str(data / name))


def test_a_dataset_of_a_users_own_file(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DATASETS, "_things", dict(DATASETS._things))
    (data / "mine.py").write_text("""
from mibench.data.base import Levels, Published, SplitSizes, panels, register
from mibench.data.records import labelled_bits

def read(files):
    return labelled_bits(files, "mine.txt")

register(Published("Mine", __name__, rows=60, classes=2, shapes=((3,),), forms={"mine.txt": read},
    sizes=SplitSizes(12, 12, 12, 12, 12, pairs=3, group=5),
    levels=Levels((1.0, 2.0, 3.0), (0.1, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4), tuple(range(9))),
    panels=panels("02 30 58", "02 10 22", "03 05 07", "37 38 39 40")))
""")
    load_plugins([data / "mine.py"])
    (data / "mine.txt").write_bytes(bits_text(RNG.integers(0, 2, (60, 3)), np.arange(60) % 2 + 1))
    found = load("mine", data)
    assert found.name == "Mine" and found.sizes.pairs == 3
    assert scenarios.find("mine ES24").label == "Mine_Normal + 3.000 + 0.200 + 20%"
    assert [s.id for s in scenarios.panel("Mine", "RQ1")] == ["ES02", "ES30", "ES58"]
    assert "Mine" in scenarios.published()


def test_naming_datasets_and_scenarios_imports_nothing_heavy() -> None:
    script = "import sys, mibench.scenarios; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    heavy = {"PIL", "pandas", "torch", "sklearn", "requests", "pooch", "scipy", "pyarrow"}
    assert done.returncode == 0 and not heavy & set(done.stdout.split())


CONTENT = RNG.bytes(300_000)


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, from where a Range asks for."""

    ranges: list[str | None] = []  # noqa: RUF012

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.ranges.append(asked)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", f"http://{self.headers['Host']}/a.bin")
            self.end_headers()
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:])

    def log_message(self, *_: object) -> None:
        pass


class Unencrypted(requests.adapters.HTTPAdapter):
    """Answers https from a server of this machine that knows http only."""

    def send(self, request: requests.PreparedRequest, *given: Any, **named: Any) -> Any:
        request.url = str(request.url).replace("https", "http")
        return super().send(request, *given, **named)


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    Server.ranges.clear()
    made = downloads._session

    def session() -> requests.Session:
        session = made()
        session.mount("https://", Unencrypted())
        return session

    monkeypatch.setattr(downloads, "_session", session)
    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_port}/a.bin"
        server.shutdown()


def test_what_is_not_https_is_not_downloaded_also_after_a_redirect(
    url: str, tmp_path: Path
) -> None:
    for plain in (url.replace("https", "http"), url.replace("a.bin", "moved")):
        with pytest.raises(MIBenchError, match=r"could not be downloaded .*No connection adapters"):
            downloads.fetch(plain, f"md5:{'0' * 32}", tmp_path)
    assert Server.ranges == [None]


def test_a_download_continues_where_it_stopped(url: str, tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(CONTENT)
    known = f"md5:{pooch.file_hash(str(tmp_path / 'whole'), 'md5')}"
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / "a.bin.part").write_bytes(CONTENT[:1000])
    assert downloads.fetch(url, known, folder).read_bytes() == CONTENT
    assert Server.ranges == ["bytes=1000-"]
    downloads.fetch(url, known, folder)
    assert len(Server.ranges) == 1 and [p.name for p in folder.glob("[!.]*")] == ["a.bin"]


def test_what_two_ask_for_is_downloaded_once(url: str, tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(CONTENT)
    known = f"md5:{pooch.file_hash(str(tmp_path / 'whole'), 'md5')}"
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(downloads.fetch, url, known, tmp_path / "there") for _ in range(4)]
        assert all(one.result().read_bytes() == CONTENT for one in asked)
    assert Server.ranges == [None]


def test_a_download_with_a_wrong_checksum_is_not_kept(url: str, tmp_path: Path) -> None:
    with pytest.raises(MIBenchError, match=r"a\.bin could not be downloaded"):
        downloads.fetch(url, f"md5:{'0' * 32}", tmp_path / "downloads")
    assert list((tmp_path / "downloads").glob("[!.]*")) == []
