"""The options of a command that are fields of Setting and Place: one for each field."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
import yaml
from pydantic.fields import FieldInfo

from mibench.apps.batch import parameters
from mibench.apps.cli.base import PATH
from mibench.errors import MIBenchError
from mibench.look import Look
from mibench.setting import Fields, Place, Setting

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]


def _options(keyword: str, kind: type[Fields], names: Iterable[str]) -> Decorator:
    """Give a command those fields as options, and what they make under a keyword.

    Plugins are loaded, so that the command knows what they add.
    """

    def wrapped(command: Command) -> Command:
        @functools.wraps(command)
        def called(**options: Any) -> Any:
            given = {name: options.pop(name) for name in names}
            stated = {n: _value(n, v) for n, v in given.items() if v not in (None, ())}
            read = kind.read(stated)
            if isinstance(read, Place):
                read.load_plugins()
            return command(**{keyword: read}, **options)

        return _with_options(called, [(name, kind.model_fields[name]) for name in names])

    return wrapped


setting_options = _options("setting", Setting, Setting.model_fields)
look_options = _options("look", Look, Look.model_fields)


def place_options(*names: str) -> Decorator:
    """Give a command those fields of Place as options, and the Place that they make."""
    return _options("place", Place, names)


def pairs(option: str, texts: Iterable[str]) -> dict[str, Any]:
    """Return texts such as ``members=3000`` as names with values, read as a YAML file's are.

    Raises
    ------
    MIBenchError
        If a text is not of this form.
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise MIBenchError(f"--{option} {text!r} is not NAME=VALUE, such as members=3000")
        found[name.strip()] = parameters.value(value, f"--{option} {text!r}")
    return found


def arguments(fields: Mapping[str, Any]) -> list[str]:
    """Return the options, as a command line has them, that give fields of Setting and Place."""
    said = []
    for name, value in fields.items():
        if isinstance(value, Mapping):
            # As YAML, as :func:`pairs` reads it.
            written = {k: yaml.safe_dump(v).removesuffix("...\n").strip() for k, v in value.items()}
            values = [f"{k}={text}" for k, text in written.items()]
        else:
            values = [str(v) for v in (value if isinstance(value, tuple) else (value,))]
        said += [part for value in values for part in (_option(name), value)]
    return said


def _option(field: str) -> str:
    return "--plugin" if field == "plugins" else f"--{field.replace('_', '-')}"


def _value(name: str, given: Any) -> Any:
    if not isinstance(given, tuple) or isinstance(given[0], Path):
        return given
    # A word alone, such as published, is the whole value.
    return given[0] if len(given) == 1 and "=" not in given[0] else pairs(name, given)


def _with_options(command: Command, fields: Iterable[tuple[str, FieldInfo]]) -> Command:
    for name, field in reversed(list(fields)):
        kind, shown = field.annotation, field.get_default(call_default_factory=False)
        settings: dict[str, Any] = {"help": field.description}
        if isinstance(shown, dict):
            settings |= {"multiple": True, "metavar": "NAME=VALUE"}
        elif get_origin(kind) is Literal:
            settings |= {"type": click.Choice(get_args(kind)), "show_default": str(shown)}
        elif kind is bool:
            # On by default, so that only the other is said.
            settings |= {"is_flag": True, "flag_value": False, "default": None}
        elif kind in (int, float, str):
            settings |= {"type": kind, "show_default": str(shown)}
        else:
            settings |= {"type": PATH, "multiple": get_origin(kind) is tuple}
        said = f"--no-{name}" if kind is bool else _option(name)
        command = click.option(said, name, **settings)(command)
    return command
