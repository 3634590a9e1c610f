import errno
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import nbformat
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_notebook

from mibench import code, scenarios
from mibench.apps.batch import estimates, jobs, notebooks, trainings, verification
from mibench.apps.batch import plan as batch
from mibench.apps.cli import main
from mibench.data.loading import load
from mibench.errors import MIBenchError
from mibench.models import MODELS
from mibench.setting import Place, Setting
from mibench.study import results
from mibench.study.metrics import METRICS


def notebook(folder: Path, name: str, parameters: str, *cells: str) -> None:
    first = new_code_cell(parameters)
    first.metadata["tags"] = ["parameters"]
    made = new_notebook(cells=[first, *map(new_code_cell, cells)])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "p", "language": "python"}
    folder.joinpath("notebooks").mkdir(exist_ok=True)
    nbformat.write(made, folder / "notebooks" / f"{name}.ipynb")


OWN = 'setting = {"dataset": "digits"}\nplace = {}\nattacks = "all"\noutput = None'
WRITES = """
import pandas as pd
from mibench.study import results
seed = setting.get("seed", 0)
one = dict(dataset="digits", model="MLP", seed=seed, scenario="ES01", attack="gap")
results.save(output, pd.DataFrame([one | {"value": seed * 2}]), pd.DataFrame([one | {"sample": 1}]))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    notebook(tmp_path, "writes", OWN, WRITES)
    notebook(tmp_path, "fails", "sound = True", "assert sound, 'not sound'")
    notebook(tmp_path, "dies", "", "import os; os._exit(1)")
    reads = "from mibench.study import results as r; print(len(r.load(results)[0]))"
    notebook(tmp_path, "reads", 'results = "executed"', reads)
    tmp_path.joinpath("parameters").mkdir()
    return tmp_path


def plan(project: Path, text: str) -> list[notebooks.Task]:
    file = project / "parameters" / "p.yaml"
    file.write_text(text)
    return batch.plan(file)


def execute(task: notebooks.Task) -> jobs.Outcome:
    return task.run(1, lambda kind, name: None)


def status(task: notebooks.Task) -> str:
    return nbformat.read(task.output, as_version=4).metadata["mibench"]["status"]


def test_plan_expands_grid_and_seeds(project: Path) -> None:
    tasks = plan(project, "seeds: [3, 4]\nnotebooks: [writes, fails]")
    assert [t.output.name for t in tasks] == ["writes-3.ipynb", "writes-4.ipynb", "fails.ipynb"]
    notebook(project, "several", "setting = {}\nseeds = [0]")
    [task] = plan(project, "seeds: [3, 4]\nnotebooks: [several]")
    assert task.parameters["seeds"] == [3, 4] and "seed" not in task.parameters["setting"]
    tasks = plan(project, "notebooks: [{notebook: writes, grid: {seed: [1, 2, 3]}}]")
    assert [t.parameters["setting"]["seed"] for t in tasks] == [1, 2, 3]
    notebook(project, "one", OWN + "\nscenario = 'ES10'")
    label = scenarios.find("ES03", "digits").label
    for asked in (f"[ES1, es 02, Pool, {label}]", "[digits ES01, ES2, pool, ES03]"):
        tasks = plan(project, f"notebooks: [{{notebook: one, grid: {{scenario: {asked}}}}}]")
        ids = ["ES01", "ES02", "pool", "ES03"]
        assert [t.parameters["scenario"] for t in tasks] == ids
        assert [t.output.stem for t in tasks] == [f"one-{i}" for i in ids]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("notebooks: [absent]", "no notebook"),
        (
            "notebooks: [{notebook: writes, parameters: {sed: 1}}]",
            "takes no parameter 'sed'; did you mean seed",
        ),
        (
            "seeds: [3]\nnotebooks: [writes, writes]",
            r"writes is listed twice with the same values \(for writes-3.ipynb\); leave one out",
        ),
        (
            "notebooks: [writes, {notebook: writes, parameters: {seed: 0}}]",
            "notebook writes is listed twice with the same values",
        ),
        ("notebooks: [writes, {notebook: writes, parameters: {seed: 1}}]", "tell them apart"),
        ("notebooks: [writes, {notebook: one, name: Writes}]", "tell them apart"),
        ("notebooks: [writes]\ndefaults: {dataset: digitz}", "did you mean digits"),
        ("notebooks: [writes]\nnotebook: x", "no setting 'notebook'; did you mean notebooks"),
        ("notebooks: [{notebook: writes, grid: {seed: 1}}]", "grid: seed is 1; give a list"),
        ("notebooks: writes", "no list 'notebooks'"),
        ("notebooks: [", "not valid YAML"),
        ("notebooks: []", "no list 'notebooks'"),
        ("notebooks: [[writes]]", "names no notebook"),
        ("[" * 1_000, "nested too deeply"),
        ("notebooks: [writes]\ndefaults: {datset: x}", "default datset; did you mean dataset"),
        ("notebooks: [writes]\nseed: [1]", "no setting 'seed'; did you mean seeds"),
        ("notebooks: [wrote]", "wrote.ipynb; did you mean writes"),
        ("notebooks: [writes]\ndefaults: {zz: 1}", "takes the default zz; leave it out"),
        ("notebooks: [writes]\ndefaults: [seed]", "defaults is \\['seed'\\]; give names with"),
        ("notebooks: [{notebook: writes, parameters: x}]", "parameters is 'x'"),
        ("notebooks: [{notebook: writes, parameters: {output: x}}]", "set by the batch itself"),
        ("notebooks: [{notebook: writes, name: 0}]", "name is 0; it must be a text"),
        ("notebooks: [{notebook: writes, parameters: {scenario: ES10}}]", "takes no parameter"),
        ("notebooks: [writes]\ntime_limit: true", "time_limit is True"),
        ("notebooks: [writes]\ndefaults: {attacks: 3}", "attacks is 3; give 'all' or a list"),
        ("notebooks: [writes]\ndefaults: {attacks: [gp]}", "unknown attack 'gp'"),
        ("notebooks: [writes]\ndefaults: {attacks: [gap, all, gap]}", "gap is listed twice"),
        (
            "notebooks: [writes]\ndefaults: {attacks: [{name: rmia, gamma: [1, 1]}]}",
            r"rmia\[gamma=1\] is listed twice; leave one out",
        ),
        ("notebooks: [writes]\ndefaults: {references: many}", "references is 'many'"),
        ("notebooks: [writes]\ndefaults: {model: VGG99}", "unknown model 'VGG99'"),
        (
            "notebooks: [writes]\ndefaults: {model: [MLP]}",
            "model is \\['MLP'\\]; it must be a text",
        ),
        ("notebooks: [writes]\ndefaults: {space: x}", "space is 'x'"),
        ("notebooks: [writes]\ndefaults: {device: tpu}", "device is 'tpu'"),
        ("notebooks: [writes]\ndefaults: {recipe: 10}", "recipe is 10; give names"),
        ("notebooks: [writes]\ndefaults: {sizes: {members: -1}}", "sizes: members is -1"),
        ("notebooks: [writes]\ndefaults: {sizes: {mebmers: 10}}", "there is no 'mebmers'"),
        ("notebooks: [writes]\ndefaults: {data_dir: {a: 1}}", "data_dir is {'a': 1}"),
        ("notebooks: [writes]\ndefaults: {data_dir: /none}", "data_dir /none is no folder"),
        ("notebooks: [writes]\ndefaults: {cache_dir: ~nobody-here/x}", "home folder of nobody"),
        ("notebooks: [writes]\ndefaults: {dataset: ~nobody-here/x.csv}", "does not exist"),
        ("notebooks: [writes]\nplugins: [~nobody-here/x.py]", "home folder of nobody"),
        ("notebooks: [writes]\ndefaults: {references: 100000000}", "less than or equal to 10000"),
        ("notebooks: [writes]\ndefaults: {epochs: 100000000000}", "less than or equal to 1000000"),
        ("notebooks: [writes]\ndefaults: {1: 2}", "1 is no name"),
        ("notebooks: [writes]\ndefaults: {seed: 1, seed: 2}", "'seed' is given twice"),
        ("notebooks: [writes]\ndefaults: {seed: 010}", "010 is no plain number"),
        ("notebooks: [writes]\ndefaults: {seed: 1:30}", "1:30 is no plain number"),
        ("notebooks: &a [writes]\nseeds: *a", "by reference"),
        ("notebooks: [writes]\nplugins: [absent.py]", "absent.py cannot be read"),
        ("notebooks: [writes]\ndefaults: {recipe: {learning_rate: 1e-3}}", "write 1.0e-3"),
        ("notebooks: [writes]\nseeds: [a]", "seed is 'a'"),
        ("notebooks: [writes]\nseeds: 3", "seeds is 3; give a list"),
        ("notebooks: [writes]\nseeds: [1, 0, 1]", "p.yaml: seed 1 is listed twice; leave one out"),
        (
            "notebooks: [{notebook: one, grid: {scenario: [ES1, ES01], seed: [0]}}]",
            "notebook one: scenario ES01, seed 0 is listed twice",
        ),
        (
            "seeds: [0, 1]\nnotebooks: [writes, {notebook: writes, name: more, grid: {epochs: "
            f"{[*range(1, 501)]}, references: {[*range(2, 102)]}}}}}]",
            "p.yaml: notebook writes: with its grid the file asks for 100,002 notebooks, of "
            "100,000 at most; leave values out or split the file",
        ),
    ],
)
def test_plan_rejects(project: Path, text: str, says: str) -> None:
    """What is wrong with a file is told before anything is trained."""
    notebook(project, "one", OWN + "\nscenario = 'ES10'")
    with pytest.raises(MIBenchError, match=says):
        plan(project, text)


@pytest.mark.parametrize(
    ("cell", "declared"),
    [
        ("lr = 10**-3", {"lr": ...}),
        ("from pathlib import Path\nfolder = Path('x')", {"folder": ...}),
        ("x = -1\na = b = 1", {"x": -1, "a": 1, "b": 1}),
        ("a, b = 1, 2", {"a": ..., "b": ...}),
        ("query = 'a=b'; tag = 'a#b'", {"query": "a=b", "tag": "a#b"}),
        ("xs = [\n    1,  # one\n]", {"xs": [1]}),
        ("x: int = 3\ny: int", {"x": 3, "y": ...}),
        ("%matplotlib inline\nx = 1", {"x": 1}),
        ("", {}),
        ("# a = 1\nb = 2", {"b": 2}),
    ],
)
def test_what_a_notebook_declares(project: Path, cell: str, declared: dict[str, Any]) -> None:
    notebook(project, "own", cell, "pass")
    assert notebooks.read(project / "notebooks" / "own.ipynb").declared == declared
    [task] = plan(project, "notebooks: [own]\ndefaults: {}")
    assert task.parameters == {} and task.setting is None


def test_a_users_own_notebook_is_given_what_the_file_states(project: Path) -> None:
    notebook(project, "own", "seed = 5\nlr = 10**-3\nresults = [1]\ndataset = 'mine'", "pass")
    text = "defaults: {seed: 7, dataset: digits, epochs: 2}\nnotebooks: [own, writes]"
    own, writes = plan(project, text)
    assert own.parameters == {"seed": 7, "dataset": "digits"} and own.reads is None
    assert writes.parameters["setting"] == {"dataset": "digits", "seed": 7, "epochs": 2}
    with pytest.raises(MIBenchError, match="notebook own takes no parameter 'epochs'"):
        plan(project, "notebooks: [{notebook: own, parameters: {epochs: 2}}]")


def test_a_notebook_of_an_older_format_is_read(tmp_path: Path) -> None:
    notebook(tmp_path, "new", "seed = 1", "import mibench.study.results")
    new, old = (tmp_path / "notebooks" / f"{name}.ipynb" for name in ("new", "old"))
    nbformat.write(nbformat.convert(nbformat.read(new, as_version=4), 3), old, version=3)
    assert "worksheets" in old.read_text()
    assert notebooks.read(old) == notebooks.read(new)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{not json", "is no notebook"),
        ("", "is no notebook"),
        ('{"a": 1}', "is no notebook"),
        (None, "its parameters cell is no Python"),
    ],
)
def test_a_broken_notebook_is_named(project: Path, content: str | None, says: str) -> None:
    notebook(project, "own", "x = (", "pass")
    if content is not None:
        (project / "notebooks" / "own.ipynb").write_text(content)
    with pytest.raises(MIBenchError, match=f"own.ipynb.*{says}"):
        plan(project, "notebooks: [own]")


def test_a_notebook_in_another_language_is_named(project: Path) -> None:
    file = project / "notebooks" / "writes.ipynb"
    file.write_text(file.read_text().replace('"python"', '"R"'))
    with pytest.raises(MIBenchError, match="written in R"):
        plan(project, "notebooks: [writes]")


def test_plan_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MIBenchError, match="is no file"):
        batch.plan(tmp_path / "none.yaml")


def test_done_is_skipped_and_changes_run_again(project: Path) -> None:
    [task] = plan(project, "notebooks: [writes]")
    assert not task.is_done()
    assert execute(task).state == "done"
    assert task.is_done() and status(task) == "completed"
    assert [f.suffix for f in task.output.parent.glob(".*")] == [".lock"]
    assert task.state() == "done" and task.stale() == []
    [changed] = plan(project, "notebooks: [writes]\ndefaults: {seed: 5}")
    assert changed.output == task.output and not changed.is_done()
    assert changed.state() == "stale" and changed.stale() == ["seed changed"]
    (task.output.parent / "answers" / "writes.parquet").unlink()
    assert task.stale() == ["answers/writes.parquet is missing"]
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


def test_what_reads_results_is_stale_while_more_of_them_are_to_come(project: Path) -> None:
    notebook(project, "reads_one", 'results = "executed"\ndataset = "noisy_digits"', "pass")
    text = "notebooks: [writes, {notebook: writes, name: more}, reads, reads_one]"
    tasks = plan(project, text)
    for task in tasks:
        execute(task)
    said = CliRunner().invoke(main, ["status", str(project / "parameters" / "p.yaml")]).stdout
    assert said.endswith("\n4 done\n")
    tasks[1].output.unlink()
    said = CliRunner().invoke(main, ["status", str(project / "parameters" / "p.yaml")]).stdout
    assert "stale   all/reads  digits/more runs first\n" in said
    assert "done    noisy_digits/reads_one\n" in said


def test_a_batch_that_is_done_needs_no_folder_that_can_be_written(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = plan(project, "notebooks: [writes, reads]")
    for task in tasks:
        execute(task)

    def read_only(dir: Path) -> NoReturn:
        raise OSError(errno.EROFS, "as a disk that can only be read")

    monkeypatch.setattr("mibench.store.tempfile.TemporaryFile", read_only)
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    command = ["run", str(project / "parameters" / "p.yaml")]
    done = CliRunner().invoke(main, command)
    assert (done.exit_code, done.stdout) == (0, "0 notebooks run, 2 already done\n"), done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    tasks[1].output.unlink()
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 2 and "cannot be written" in refused.stderr


def test_the_last_line_says_how_many_trainings_failed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(training: trainings.Training, *_: Any) -> jobs.Outcome:
        return jobs.Outcome(training.name, "failed", 1.0, error="no luck")

    def passes(task: notebooks.Task, *_: Any) -> jobs.Outcome:
        return jobs.Outcome(task.name, "done", 1.0)

    monkeypatch.setattr(trainings.Training, "run", fails)
    monkeypatch.setattr(notebooks.Task, "run", passes)
    cache = project / "cache"
    plan(project, f"defaults: {{cache_dir: {cache}}}\nnotebooks: [writes]")
    done = CliRunner().invoke(main, ["run", str(project / "parameters" / "p.yaml")])
    assert "1 notebook run, 0 already done, 0 failed; 1 training, 1 failed" in done.stdout
    assert done.exit_code == 1 and "no luck" in done.stderr


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
    assert task.state() == "stale" and task.stale() == ["writes.ipynb cannot be read"]


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
    checksum = load(str(own), Place(cache_dir=tmp_path / "cache")).checksum
    notebook(
        project, "writes", OWN, WRITES.replace('"value"', f'"data_sha256": "{checksum}", "value"')
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
    reads = "from mibench.study import results as r; print(len(r.load(results, dataset)[0]))"
    notebook(project, "reads", 'results = "executed"\ndataset = None', reads)
    writes = WRITES.replace('dataset="digits"', 'dataset="own"')
    notebook(project, "writes", OWN, writes)
    first, second = plan(project, f"defaults: {{dataset: {own}}}\nnotebooks: [writes, reads]")
    assert first.setting is not None and first.setting.dataset == str(own)
    assert second.parameters["dataset"] == "own"
    assert [execute(task).state for task in (first, second)] == ["done", "done"]


def test_a_data_directory_serves_notebooks_that_have_none(project: Path, tmp_path: Path) -> None:
    table = pd.DataFrame({"a": np.arange(100) % 3, "label": np.arange(100) % 2})
    (tmp_path / "data").mkdir()
    table.to_csv(tmp_path / "data" / "own.csv", index=False)
    notebook(project, "reads", 'results = "executed"\ndataset = None', "pass")
    file = project / "parameters" / "p.yaml"
    file.write_text("defaults: {dataset: own.csv}\nnotebooks: [reads]")
    [task] = batch.plan(file, {"data_dir": str(tmp_path / "data")})
    assert task.parameters["dataset"] == "own"


def test_a_dry_run_downloads_nothing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MIBENCH_DATA", raising=False)
    monkeypatch.setattr("mibench.data.loading.fetch", lambda *_: pytest.fail("downloads"))
    place = Place(cache_dir=tmp_path / "cache")
    assert not trainings.Training(Setting(dataset="Location30"), place, ("gap",)).is_cached()


def test_data_in_another_folder_do_not_run_again(
    project: Path, tmp_path: Path, shared_data: Path, cache_dir: Path
) -> None:
    tmp_path.joinpath("there").symlink_to(shared_data)
    text = "defaults: {dataset: Location30, data_dir: %s, cache_dir: %s}\nnotebooks: [writes]"
    [task] = plan(project, text % (shared_data, cache_dir))
    assert (
        task.data == load("Location30", Place(data_dir=shared_data, cache_dir=cache_dir)).checksum
    )
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

    monkeypatch.setattr(trainings, "ProcessPoolExecutor", lambda *_: Full())
    tasks = plan(project, "notebooks: [writes]")
    [training] = trainings.trainings(tasks)
    with pytest.raises(jobs.DiskFull, match=r"no space is left on the disk \(training digits"):
        training.run(1, lambda kind, name: None)


def test_an_executed_notebook_says_what_made_it(project: Path) -> None:
    [task] = plan(project, "notebooks: [writes]\ndefaults: {seed: 4}")
    execute(task)
    made = notebooks.read_metadata(task.output)
    assert made["made_from"]["seed"] == 4 and made["made_from"]["parameter attacks"]
    assert made["made_from"]["mibench/attacks/rmia.py"]
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
    (project / "executed" / "results.ipynb").write_text("{}")
    for path in (project / "parameters", project / "executed" / "results.ipynb"):
        with pytest.raises(MIBenchError, match=f"{path.name} holds no results to verify"):
            verification.verify([path])
    with pytest.raises(MIBenchError, match=r"none\.ipynb is not there"):
        verification.verify([project / "none.ipynb"])
    table.parent.joinpath("answers", table.name).unlink()
    with pytest.raises(MIBenchError, match=r"answers/writes\.parquet is missing; run its"):
        verification.verify([table])


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
    for dataset in scenarios.published():
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


def test_what_a_batch_tells_a_notebook_is_the_same_in_all() -> None:
    """A batch gives the place of results under `output`, which the audit's once took for a file."""
    told = 0
    for file in Path(__file__).parents[1].joinpath("notebooks").glob("*.ipynb"):
        cells = [c["source"] for c in nbformat.read(file, as_version=4).cells]
        if "output" in notebooks.read(file).declared:
            told += 1
            assert any("results.save(output, table, answers)" in cell for cell in cells), file.name
    assert told == 6


PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar
from mibench.attacks.base import Attack, Inference, register

@register
@dataclass
class Mine(Attack):
    name: ClassVar[str] = "mine"
    title: ClassVar[str] = "Mine"
    source: ClassVar[str] = "none"
    needs: ClassVar[frozenset[str]] = frozenset()
    sign: int = 1

    def infer(self, target):
        return Inference(self.sign * target.probs.max(axis=1), 0.5)
"""


def test_a_plugin_that_changed_runs_again_where_it_is_used(project: Path) -> None:
    plugin = project / "my_attack.py"
    plugin.write_text(PLUGIN)
    text = f"""
plugins: [{plugin}]
notebooks:
  - {{notebook: writes, name: a, parameters: {{attacks: [{{name: mine, sign: [1, 2]}}]}}}}
  - {{notebook: writes, name: b, parameters: {{attacks: [gap]}}}}
"""
    mine, other = plan(project, text)
    assert mine.attacks == ("mine", "mine[sign=2]")
    assert mine.parameters["place"]["plugins"] == [str(plugin)]
    execute(mine)
    execute(other)
    plugin.write_text("# A comment changes nothing.\n" + PLUGIN)
    assert [task.state() for task in plan(project, text)] == ["done", "done"]
    plugin.write_text(PLUGIN.replace("self.sign *", "-self.sign *"))
    mine, other = plan(project, text)
    assert [task.state() for task in (mine, other)] == ["stale", "done"]
    assert mine.stale() == ["my_attack.py changed"]


NETWORK = """
from torch import nn
from mibench.models import register_model

@register_model("Own")
def own(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes), nn.Tanh())
"""


def test_a_network_of_a_plugin_is_trained_in_a_process_of_its_own(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODELS, "_things", dict(MODELS))
    plugin = project / "own_network.py"
    plugin.write_text(NETWORK)
    given = {"dataset": "digits", "model": "Own", "epochs": 1, "cache_dir": str(project / "cache")}
    text = {"plugins": [str(plugin)], "defaults": {**given, "attacks": ["gap"]}}
    tasks = plan(project, json.dumps({**text, "notebooks": ["writes"]}))
    [training] = trainings.trainings(tasks)
    assert training.state() == "waiting"
    outcome = training.run(1, lambda kind, name: None)
    assert (outcome.state, outcome.error) == ("done", "")
    assert training.state() == "done"


def test_a_changed_source_is_told_by_its_file(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "notebooks: [{notebook: writes, parameters: {attacks: [%s]}, name: %s}]"
    [loss] = plan(project, text % ("loss_threshold", "a"))
    [gap] = plan(project, text % ("gap", "b"))
    execute(loss)
    execute(gap)
    real = code.digests

    def changed(*modules: str) -> dict[str, str]:
        file = "mibench/attacks/loss_threshold.py"
        return {f: "other" if f == file else digest for f, digest in real(*modules).items()}

    monkeypatch.setattr(code, "digests", changed)
    assert loss.stale() == ["mibench/attacks/loss_threshold.py changed"] and gap.stale() == []


def test_names_never_take_each_others_files(project: Path) -> None:
    text = "notebooks: [{notebook: writes, name: %s, parameters: {seed: %d}}]"
    others = [plan(project, text % (name, i))[0] for i, name in enumerate(("v1.2", "v1.answers"))]
    for task in others:
        execute(task)
    execute(plan(project, text % ("v1", 5))[0])
    assert all(task.is_done() for task in others)
    table, answers = results.load(project / "executed")
    assert sorted(table["seed"]) == [0, 1, 5] and len(answers) == 3


def test_a_damaged_table_counts_as_not_done(project: Path) -> None:
    [task] = plan(project, "notebooks: [writes]")
    execute(task)
    table = task.output.with_suffix(".parquet")
    table.write_bytes(table.read_bytes()[:100])
    assert task.stale() == ["writes.parquet is damaged or of an older version"]
    assert execute(task).state == "done" and task.is_done()


def test_old_tables_go_when_a_rerun_fails(project: Path) -> None:
    notebook(project, "writes", OWN + "\nsound = True", WRITES, "assert sound")
    text = "notebooks: [{notebook: writes, parameters: {sound: %s}}]"
    [task] = plan(project, text % "true")
    execute(task)
    notebook(project, "writes", OWN + "\nsound = True", "assert sound", WRITES)
    [again] = plan(project, text % "false")
    assert execute(again).state == "failed"
    assert not again.output.with_suffix(".parquet").exists()
