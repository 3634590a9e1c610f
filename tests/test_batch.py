import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from mibench import data as datasets
from mibench import scenarios
from mibench.apps.batch import estimates, jobs, verification
from mibench.apps.batch import plan as batch
from mibench.errors import MIBenchError
from mibench.study import results
from mibench.study.metrics import METRICS


def notebook(folder: Path, name: str, parameters: str, *cells: str) -> None:
    first = new_code_cell(parameters)
    first.metadata["tags"] = ["parameters"]
    made = new_notebook(cells=[first, *map(new_code_cell, cells)])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "p", "language": "python"}
    folder.joinpath("notebooks").mkdir(exist_ok=True)
    nbformat.write(made, folder / "notebooks" / f"{name}.ipynb")


WRITES = """
import pandas as pd
from mibench.study import results
one = dict(dataset="digits", model="MLP", seed=seed, scenario="ES01", attack="gap")
results.save(output, pd.DataFrame([one | {"value": seed * 2}]), pd.DataFrame([one | {"sample": 1}]))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    notebook(tmp_path, "writes", 'dataset = "digits"\nseed = 0\noutput = None', WRITES)
    notebook(tmp_path, "fails", 'dataset = "digits"\nsound = True', "assert sound, 'not sound'")
    notebook(tmp_path, "dies", 'dataset = "digits"', "import os; os._exit(1)")
    reads = "from mibench import results as r; print(len(r.load(results)[0]))"
    notebook(tmp_path, "reads", 'results = "executed"', reads)
    tmp_path.joinpath("parameters").mkdir()
    return tmp_path


def plan(project: Path, text: str) -> list[jobs.Task]:
    file = project / "parameters" / "p.yaml"
    file.write_text(text)
    return batch.plan(file)


def execute(task: jobs.Task) -> jobs.Outcome:
    return task.run(1, lambda kind, name: None)


def status(task: jobs.Task) -> str:
    return nbformat.read(task.output, as_version=4).metadata["mibench"]["status"]


def test_plan_expands_grid_and_seeds(project: Path) -> None:
    tasks = plan(project, "seeds: [3, 4]\nnotebooks: [writes, fails]")
    assert [t.output.name for t in tasks] == ["writes-3.ipynb", "writes-4.ipynb", "fails.ipynb"]
    tasks = plan(project, "notebooks: [{notebook: writes, grid: {seed: [1, 2, 3]}}]")
    assert [t.parameters["seed"] for t in tasks] == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("notebooks: [absent]", "no notebook"),
        ("notebooks: [{notebook: writes, parameters: {sed: 1}}]", "takes no parameter 'sed'"),
        ("notebooks: [writes, writes]", "tell them apart"),
        ("notebooks: [writes]\ndefaults: {dataset: digitz}", "did you mean digits"),
        ("notebooks: [writes]\nnotebook: x", "unknown keys notebook"),
        ("notebooks: [{notebook: writes, grid: {seed: 1}}]", "needs a list"),
        ("notebooks: writes", "no list 'notebooks'"),
        ("notebooks: [", "not valid YAML"),
        ("notebooks: []", "no list 'notebooks'"),
        ("notebooks: [writes]\ndefaults: {sed: 1}", "no notebook takes the default sed"),
        ("notebooks: [writes]\ndefaults: [seed]", "defaults is \\['seed'\\]; give names with"),
        ("notebooks: [{notebook: writes, parameters: x}]", "parameters is 'x'"),
        ("notebooks: [writes]\ntime_limit: true", "time_limit is True"),
        ("notebooks: [trains]\ndefaults: {attacks: gap}", "attacks is 'gap'; give 'all' or a list"),
        ("notebooks: [trains]\ndefaults: {attacks: [gp]}", "unknown attack 'gp'"),
        ("notebooks: [trains]\ndefaults: {references: many}", "references is 'many'"),
        ("notebooks: [trains]\ndefaults: {model: VGG99}", "unknown model 'VGG99'"),
        ("notebooks: [trains]\ndefaults: {space: x}", "unknown space 'x'"),
        ("notebooks: [trains]\ndefaults: {recipe: {learning_rate: 1e-3}}", "write 1.0e-3"),
        ("notebooks: [trains]\nseeds: [a]", "the seed is 'a'"),
    ],
)
def test_plan_rejects(project: Path, text: str, says: str) -> None:
    """What is wrong with a file is told before anything is trained."""
    own = 'attacks = "all"\nreferences = 6\nmodel = "MLP"\nspace = "inputs"\nrecipe = {}\nseed = 0'
    notebook(project, "trains", own, "pass")
    with pytest.raises(MIBenchError, match=says):
        plan(project, text)


def test_plan_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MIBenchError, match="cannot be read"):
        batch.plan(tmp_path / "none.yaml")


def test_done_is_skipped_and_changes_run_again(project: Path) -> None:
    [task] = plan(project, "notebooks: [writes]")
    assert not task.is_done()
    assert execute(task).state == "done"
    assert task.is_done() and status(task) == "completed"
    assert [f.suffix for f in task.output.parent.glob(".*")] == [".lock"]
    [changed] = plan(project, "notebooks: [writes]\ndefaults: {seed: 5}")
    assert changed.output == task.output and not changed.is_done()
    task.output.with_suffix(".parquet").unlink()
    assert not task.is_done()


def test_a_notebook_that_reads_results_depends_on_them(project: Path) -> None:
    writes, reads = plan(project, "notebooks: [writes, reads]")
    execute(writes)
    assert execute(reads).state == "done"
    assert reads.is_done()
    [more] = plan(project, "notebooks: [{notebook: writes, name: more}]\ndefaults: {seed: 9}")
    execute(more)
    assert not reads.is_done()
    table, answers = results.load(project / "executed")
    assert sorted(table["value"]) == [0, 18] and len(answers) == 2


def test_a_failing_notebook_is_kept_with_its_error_and_runs_again(project: Path) -> None:
    text = "notebooks: [{notebook: fails, parameters: {sound: %s}}]"
    [task] = plan(project, text % "false")
    assert "not sound" in execute(task).error
    assert status(task) == "failed" and not task.is_done()
    outputs = nbformat.read(task.output, as_version=4).cells[-1].outputs
    assert any(o.get("ename") == "AssertionError" for o in outputs)
    [mended] = plan(project, text % "true")
    assert execute(mended).state == "done" and mended.is_done()


def test_a_dying_kernel_is_reported(project: Path) -> None:
    [task] = plan(project, "notebooks: [dies]")
    assert execute(task).error
    assert not task.is_done()


def test_a_truncated_executed_notebook_runs_again(project: Path) -> None:
    [task] = plan(project, "notebooks: [writes]")
    execute(task)
    task.output.write_text(task.output.read_text()[:100])
    assert not task.is_done()


def test_stale_results_go_with_their_notebook_only(project: Path) -> None:
    first, second = plan(project, "notebooks: [{notebook: writes, grid: {seed: [1, 11]}}]")
    execute(second)
    execute(first)
    assert second.is_done() and first.is_done()


def test_data_that_changed_runs_again(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIBENCH_CACHE", str(tmp_path / "cache"))
    own = tmp_path / "here" / "own.csv"
    own.parent.mkdir()
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.integers(0, 2, (200, 4)), columns=[*"abcd"]).assign(
        label=np.arange(200) % 2
    )
    table.to_csv(own, index=False)
    checksum = datasets.load(str(own)).checksum
    notebook(
        project,
        "writes",
        'dataset = "digits"\nseed = 0\noutput = None',
        WRITES.replace('"value"', f'"data_sha256": "{checksum}", "value"'),
    )
    text = "defaults: {dataset: %s}\nnotebooks: [writes]"
    [task] = plan(project, text % own)
    assert task.data == checksum
    execute(task)
    assert plan(project, text % own)[0].is_done()
    table.assign(a=1 - table["a"]).to_csv(own, index=False)
    assert not plan(project, text % own)[0].is_done()


def test_results_of_a_users_own_data_go_by_their_name(project: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    pd.DataFrame({"a": np.arange(100) % 3, "label": np.arange(100) % 2}).to_csv(own, index=False)
    reads = "from mibench import results as r; print(len(r.load(results, dataset)[0]))"
    notebook(project, "reads", 'results = "executed"\ndataset = None', reads)
    writes = WRITES.replace('dataset="digits"', 'dataset="own"')
    notebook(project, "writes", 'dataset = "digits"\nseed = 0\noutput = None', writes)
    first, second = plan(project, f"defaults: {{dataset: {own}}}\nnotebooks: [writes, reads]")
    assert first.parameters["dataset"] == str(own) and second.parameters["dataset"] == "own"
    assert [execute(task).state for task in (first, second)] == ["done", "done"]


def test_a_data_directory_serves_notebooks_that_have_none(project: Path, tmp_path: Path) -> None:
    table = pd.DataFrame({"a": np.arange(100) % 3, "label": np.arange(100) % 2})
    (tmp_path / "data").mkdir()
    table.to_csv(tmp_path / "data" / "own.csv", index=False)
    notebook(project, "reads", 'results = "executed"\ndataset = None', "pass")
    file = project / "parameters" / "p.yaml"
    file.write_text("defaults: {dataset: own.csv}\nnotebooks: [reads]")
    [task] = batch.plan(file, tmp_path / "data")
    assert task.parameters["dataset"] == "own"


def test_a_dry_run_downloads_nothing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MIBENCH_DATA", raising=False)
    monkeypatch.setattr("mibench.data.registry.fetch", lambda *_: pytest.fail("downloads"))
    settings = {"dataset": "Location30", "cache_dir": str(tmp_path / "cache")}
    assert not jobs.Training(settings, ("gap",)).is_cached()


def test_data_in_another_folder_do_not_run_again(
    project: Path, tmp_path: Path, shared_data: Path, cache_dir: Path
) -> None:
    tmp_path.joinpath("there").symlink_to(shared_data)
    notebook(
        project,
        "writes",
        'dataset = "digits"\nseed = 0\noutput = None\ndata_dir = None\ncache_dir = None',
        WRITES,
    )
    text = "defaults: {dataset: Location30, data_dir: %s, cache_dir: %s}\nnotebooks: [writes]"
    [task] = plan(project, text % (shared_data, cache_dir))
    assert task.data == datasets.load("Location30", shared_data, cache_dir).checksum
    execute(task)
    assert plan(project, text % (tmp_path / "there", cache_dir))[0].is_done()


@pytest.mark.parametrize("name", ["digits", "Location30"])
def test_data_that_the_package_pins_have_no_checksum_in_a_plan(
    project: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("MIBENCH_DATA", raising=False)
    [task] = plan(project, f"notebooks: [writes]\ndefaults: {{dataset: {name}}}")
    assert task.data is None


def test_a_full_disk_ends_a_training_and_the_batch(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no device that is always full")

    class Full(ThreadPoolExecutor):
        def submit(self, *arguments: object, **_: object) -> Any:
            return super().submit(os.write, os.open("/dev/full", os.O_WRONLY), b"weights")

    monkeypatch.setattr(jobs, "ProcessPoolExecutor", lambda *_: Full())
    tasks = plan(project, "notebooks: [writes]")
    [training] = batch.trainings(tasks)
    with pytest.raises(jobs.DiskFull, match=r"no space is left on the disk \(training digits"):
        training.run(1, lambda kind, name: None)


def test_an_executed_notebook_says_what_made_it(project: Path) -> None:
    [task] = plan(project, "notebooks: [writes]\ndefaults: {seed: 4}")
    execute(task)
    made = jobs.read_metadata(task.output)
    assert made["parameters"] == {"dataset": "digits", "seed": 4} and made["seed"] == 4
    assert made["seconds"] > 0 and made["torch_version"] and "git_commit" in made


def test_verifying(project: Path) -> None:
    [task] = plan(project, "notebooks: [writes]\ndefaults: {seed: 4}")
    execute(task)
    [verdict] = verification.verify([task.output])
    assert verdict.differs == {}
    table = task.output.with_suffix(".parquet")
    pd.read_parquet(table).assign(value=7.5).to_parquet(table)
    [verdict] = verification.verify([project / "executed"])
    assert verdict.differs == {"value": "by up to 0.5"}
    with pytest.raises(MIBenchError, match="no executed notebook"):
        verification.verify([project / "parameters"])


def test_estimates_come_from_what_is_alike(project: Path) -> None:
    first, second = plan(project, "notebooks: [{notebook: writes, grid: {seed: [1, 2]}}]")
    folder = project / "executed"
    assert estimates.Measured(folder, []).estimate([first, second]).unknown == 2
    execute(first)
    found = estimates.Measured(folder, []).estimate([second])
    assert found.seconds == first.skipped().seconds and found.bytes > 1000 and not found.unknown


def test_the_whole_grid_loads_within_a_second(tmp_path: Path) -> None:
    """588 scenarios and 20 attacks; the numbers are simulated."""
    rng = np.random.default_rng(0)
    columns = [f"{m}{end}" for m in METRICS for end in ("", "_low", "_high")]
    for dataset in scenarios.PUBLISHED:
        ids = [s.id for s in scenarios.catalogue(dataset)]
        named = {"dataset": dataset, "model": "simulated", "seed": 0}
        table = pd.DataFrame(
            [named | {"scenario": s, "attack": f"a{i}"} for s in ids for i in range(20)]
        )
        table[columns] = rng.random((len(table), len(columns)))
        results.save(tmp_path / dataset / "simulated", table, pd.DataFrame())
    files = results.collect(tmp_path)
    before = [file.stat().st_mtime_ns for file in files]
    began = time.perf_counter()
    assert len(pd.read_parquet(tmp_path / "results")) == 588 * 20
    table, _ = results.load(tmp_path)
    assert time.perf_counter() - began < 2  # both ways
    assert len(table) == 588 * 20 and table.groupby("dataset").size().eq(84 * 20).all()
    assert [file.stat().st_mtime_ns for file in results.collect(tmp_path)] == before


def test_datasets_with_unlike_columns_are_read_together(tmp_path: Path) -> None:
    answers = pd.DataFrame(
        {"scenario": ["ES01"], "attack": ["gap"], "answer": [1], "threshold": [2]}
    )
    infeasible = {"dataset": "A", "model": "MLP", "scenario": "ES01", "attack": "gap"}
    infeasible |= {"train_patience": None}
    results.save(tmp_path / "A" / "one", pd.DataFrame([infeasible]), pd.DataFrame())
    found = infeasible | {"dataset": "B", "train_patience": 3, "ma": 0.25}
    results.save(tmp_path / "B" / "one", pd.DataFrame([found]), answers)
    files = results.collect(tmp_path)
    table = pd.read_parquet(tmp_path / "results").set_index("dataset")
    assert table.loc["B", ["train_patience", "ma"]].tolist() == [3, 0.25]
    assert table.loc["A", ["train_patience", "ma"]].isna().all()
    [answer] = pd.read_parquet(tmp_path / "answers").to_dict("records")
    assert answer | answers.loc[0].to_dict() == answer and answer["dataset"] == "B"
    loaded, answered = results.load(tmp_path)
    assert len(loaded) == 2 and len(answered) == 1 and loaded["ma"].tolist()[1] == 0.25
    before = [file.stat().st_mtime_ns for file in files]
    assert [file.stat().st_mtime_ns for file in results.collect(tmp_path)] == before


def test_notebooks_hold_no_outputs() -> None:
    for file in Path(__file__).parents[1].joinpath("notebooks").glob("*.ipynb"):
        for cell in nbformat.read(file, as_version=4).cells:
            assert not cell.get("outputs") and not cell.get("execution_count"), file.name
