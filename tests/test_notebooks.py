"""The notebooks that tests of their own subjects leave out, executed as a batch executes them."""

import re
from pathlib import Path

import nbformat
import papermill
import pytest
from nbclient import NotebookClient

from tests.installation import ROOT


@pytest.mark.usefixtures("forked_kernels")
def test_the_audit_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIBENCH_CACHE", str(tmp_path / "cache"))
    path = ROOT / "notebooks" / "audit.ipynb"
    book = nbformat.read(path, as_version=4)
    NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [o for cell in book.cells if cell.cell_type == "code" for o in cell.outputs]
    assert any("image/png" in o.get("data", {}) for o in outputs)
    shown = [str(o.get("data", {}).get("text/html")) for o in outputs]
    assert sum(html.startswith("<p>An attacker with ") for html in shown) == 2
    assert any("Loss-Threshold" in html for html in shown)


@pytest.mark.usefixtures("forked_kernels")
def test_the_explorers_first_state_is_a_picture(cache_dir: Path, tmp_path: Path) -> None:
    """And is waited for while models are trained, here with few epochs."""
    output = tmp_path / "explore.ipynb"
    setting, place = {"dataset": "noisy_digits", "epochs": 5}, {"cache_dir": str(cache_dir)}
    papermill.execute_notebook(
        ROOT / "notebooks" / "explore.ipynb",
        output,
        # An attack that needs no other models than the first.
        {"setting": setting, "place": place, "second_attack": "gap"},
        progress_bar=False,
        kernel_name="python3",
    )
    cell = nbformat.read(output, as_version=4).cells[-1]
    [shown] = [o for o in cell.outputs if o.output_type == "execute_result"]
    assert "noisy_digits_Normal + 0.500 + 0.000 + 10%" in shown.data["text/plain"]
    html = shown.data["text/html"]
    assert 'data-metric="precision"' in html
    pictures = re.findall(r'class="picture".*?alt="([^"]+)" src="([^"]+)"', html)
    assert len(pictures) == 7 and all(len(source) > 5_000 for _, source in pictures)
