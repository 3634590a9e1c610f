"""The rooms of the package stand in one order, and each imports only from those before it."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "mibench"
STREET = (
    *("errors", "progress", "streams", "code", "catalogue", "store", "outputs", "setting"),
    *("data", "scenarios", "models", "training", "adapters", "signals", "construction"),
    *("attacks", "study", "compare", "look", "figures", "apps"),
)
# Who still import each other. Only ever take lines away.
CIRCLES: set[tuple[str, str]] = set()


def modules() -> dict[str, ast.Module]:
    """Return every module of the package but its front door, parsed, by name."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.parent != PACKAGE or not file.stem.startswith("__"):
            parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = ast.parse(file.read_bytes())
    return found


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield what a module imports wherever it stands, a name of a module or of what is in one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # The digests of the sources follow absolute names only.
            assert not node.level, f"relative import in line {node.lineno}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def forward(trees: dict[str, ast.Module]) -> set[tuple[str, str]]:
    """Return each module that imports from a later room, with that room."""
    found = set()
    for module, tree in trees.items():
        here = STREET.index(module.split(".")[1])
        for name in imported(tree):
            package, _, rest = name.partition(".")
            room = rest.partition(".")[0]
            if package == "mibench" and room in STREET[here + 1 :]:
                found.add((module, room))
    return found


def test_every_file_stands_in_a_room() -> None:
    rooms = {module.split(".")[1] for module in modules()}
    assert rooms == set(STREET)


def test_rooms_import_only_from_rooms_before_them() -> None:
    assert forward(modules()) == set()


def test_an_import_inside_a_function_counts() -> None:
    late = ast.parse("def f():\n    from mibench import figures\n    import mibench.study.audit\n")
    early = ast.parse("from mibench import __version__\nfrom mibench.errors import MIBenchError\n")
    trees = {"mibench.data.base": late, "mibench.store": early}
    assert forward(trees) == {("mibench.data.base", "figures"), ("mibench.data.base", "study")}


def test_no_modules_import_each_other() -> None:
    trees = modules()
    needs: dict[str, set[str]] = {}
    for module, tree in trees.items():
        names = set(imported(tree))
        owners = {name if name in trees else name.rpartition(".")[0] for name in names}
        needs[module] = (owners & set(trees)) - {module}
    assert {(a, b) for a in needs for b in needs[a] if a in needs[b] and a < b} == CIRCLES
    for first, second in CIRCLES:
        needs[first].discard(second)
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        raise AssertionError(" <- ".join(error.args[1])) from None
