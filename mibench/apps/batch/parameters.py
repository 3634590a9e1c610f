"""The text of a parameter file: YAML, read strictly, so that nothing is silently something else."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field
from yaml.constructor import ConstructorError

from mibench.errors import MIBenchError
from mibench.setting import Fields


class File(Fields):
    """A parameter file; :func:`mibench.apps.batch.plan.plan` says what its keys mean."""

    notebooks: list[Any]
    defaults: dict[str, Any] = Field(default={})
    seeds: list[Any] = Field(default=[])
    plugins: list[Any] = Field(default=[])
    time_limit: int | None = Field(default=None, ge=1)


class Entry(Fields):
    """What a parameter file says of one notebook."""

    notebook: str
    name: str | None = Field(default=None, min_length=1)
    parameters: dict[str, Any] = Field(default={})
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default={})


class _Strict(yaml.SafeLoader):
    """YAML of names, numbers, texts, lists and mappings, each name once."""

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ConstructorError(None, None, "a value by reference (*) is not read; write it out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        for name, (key, _) in zip(names, node.value, strict=True):
            if not isinstance(name, str):
                raise ConstructorError(None, None, f"{name!r} is no name", key.start_mark)
            if names.count(name) > 1:
                raise ConstructorError(None, None, f"{name!r} is given twice", key.start_mark)
        return super().construct_mapping(node, deep)

    def number(self, node: Any) -> int | float:
        if not re.fullmatch(r"[-+]?(0|[1-9]\d{0,99}|\.\w+|\d+\.\d*(e[-+]?\d+)?)", node.value, re.I):
            raise ConstructorError(
                None, None, f"{node.value} is no plain number; a text is quoted", node.start_mark
            )
        made = self.construct_yaml_int if node.tag.endswith("int") else self.construct_yaml_float
        return made(node)


_Strict.yaml_constructors = {
    f"tag:yaml.org,2002:{kind}": yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{kind}"]
    for kind in ("null", "bool", "str", "seq", "map")
} | {None: yaml.SafeLoader.yaml_constructors[None]}
for kind in ("int", "float"):
    _Strict.add_constructor(f"tag:yaml.org,2002:{kind}", _Strict.number)
# A date is a text like any other.
_Strict.yaml_implicit_resolvers = {
    first: [pair for pair in found if not pair[0].endswith(("timestamp", "merge", "value"))]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def value(text: str, where: str) -> Any:
    """Return the value that a text of YAML stands for.

    Raises
    ------
    MIBenchError
        If it is no YAML, gives a name twice, or writes a number in a way that can be misread.
    """
    try:
        return yaml.load(text, _Strict)
    except (yaml.YAMLError, ValueError) as error:
        said = " ".join(str(error).split()).replace('in "<unicode string>", ', "")
        raise MIBenchError(f"{where} is not valid YAML: {said}") from None
    except RecursionError:
        raise MIBenchError(f"{where} is not valid YAML: it is nested too deeply") from None


def read(file: Path) -> File:
    """Return what a parameter file holds, with its own keys checked.

    Raises
    ------
    MIBenchError
        If it is missing or not of this form.
    """
    if not file.is_file():
        raise MIBenchError(f"{file.absolute()} is no file")
    try:
        content = value(file.read_text(encoding="utf-8"), str(file))
    except OSError as error:
        raise MIBenchError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise MIBenchError(f"{file} is not valid YAML: {error}") from None
    asked = content.get("notebooks") if isinstance(content, dict) else None
    if not isinstance(asked, list) or not asked:
        raise MIBenchError(f"{file} has no list 'notebooks'; see parameters/demo.yaml")
    return File.read(content, str(file))
