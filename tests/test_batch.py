from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from mibench import batch, jobs, results
from mibench.errors import MIBenchError


def notebook(folder: Path, name: str, parameters: str, *cells: str) -> None:
    first = new_code_cell(parameters)
    first.metadata["tags"] = ["parameters"]
    made = new_notebook(cells=[first, *map(new_code_cell, cells)])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "p", "language": "python"}
    folder.joinpath("notebooks").mkdir(exist_ok=True)
    nbformat.write(made, folder / "notebooks" / f"{name}.ipynb")


WRITES = """
import pandas as pd
from mibench import results
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
    ],
)
def test_plan_rejects(project: Path, text: str, says: str) -> None:
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


def test_notebooks_hold_no_outputs() -> None:
    for file in Path(__file__).parents[1].joinpath("notebooks").glob("*.ipynb"):
        for cell in nbformat.read(file, as_version=4).cells:
            assert not cell.get("outputs") and not cell.get("execution_count"), file.name
