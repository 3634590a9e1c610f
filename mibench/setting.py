"""What is measured, and where files lie: every setting of an experiment, written once.

A parameter file, the command line, a notebook's parameters cell and the explorer all fill a
:class:`Setting`; a field that is added here is at once an option, a key and a column.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import platformdirs
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
)
from pydantic_core import ErrorDetails

from mibench.catalogue import load_plugins, meant
from mibench.errors import MIBenchError


def _absolute(path: Any) -> Any:
    if not isinstance(path, (str, Path)) or not str(path):
        return path
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:
        raise ValueError("it names the home folder of nobody; write the folder's path") from None


def _folder(variable: str) -> Path | None:
    named = os.environ.get(variable)
    return Path(named) if named else None


def _cache() -> Path:
    return _folder("MIBENCH_CACHE") or platformdirs.user_cache_path("mibench") / "signals"


Even = Annotated[int, Field(multiple_of=2)]
Sizes = Annotated[
    Annotated[Literal["published"], Tag("word")]
    | Annotated[dict[str, Annotated[int, Field(ge=2)]], Tag("counts")],
    Discriminator(lambda given: "word" if isinstance(given, str) else "counts"),
]
AbsolutePath = Annotated[Path, BeforeValidator(_absolute)]


class Fields(BaseModel):
    """Settings that cannot be changed, each with a checked value."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    @classmethod
    def read(cls, given: Mapping[str, Any], where: str = "") -> Self:
        """Return these fields from names and values that came from outside.

        Parameters
        ----------
        given : mapping
        where : str
            What a message begins with, such as the parameter file's path.

        Raises
        ------
        MIBenchError
            If a name is unknown or a value is not what it must be.
        """
        try:
            return cls(**{str(name): value for name, value in given.items()})
        except ValidationError as error:
            said = told(error, cls.model_fields)
            raise MIBenchError(f"{where}: {said}" if where else said) from None


class Setting(Fields):
    """What is measured: all that makes an experiment's numbers beside scenario and attack.

    Raises
    ------
    pydantic.ValidationError
        If a name or value is wrong; :meth:`read` raises MIBenchError in one sentence.
    """

    dataset: str = Field(
        default="digits", min_length=1, description="A dataset's name, or a path to data."
    )
    model: str = Field(default="MLP", description="The attacked network.")
    defence: str = Field(default="none", description="How the models are defended.")
    seed: int = Field(
        default=0, ge=0, lt=2**32, description="Of splits, training and construction."
    )
    epochs: int = Field(default=50, ge=1, le=10**6, description="Passes of every training.")
    references: Even = Field(default=16, ge=6, le=10**4, description="Reference models; even.")
    shadows: int = Field(default=1, ge=1, le=10**4, description="Shadow models.")
    distilled: Even = Field(
        default=16, ge=2, le=10**4, description="Models distilled from the target; even."
    )
    recipe: dict[str, bool | int | float | str | None] = Field(
        default={}, description="Changes to the network's recipe."
    )
    sizes: Sizes = Field(
        default={},
        description="Samples of each role that differ from the dataset's own; or published.",
    )
    construction: Literal["groups", "pairs"] = Field(
        default="groups", description="How target datasets are made; groups: as published."
    )
    space: Literal["log_probs", "logits", "probs", "inputs"] = Field(
        default="log_probs", description="Where pairs' distances are measured."
    )
    levels: Literal["quantile", "absolute"] = Field(
        default="quantile",
        description="Whether published levels are mapped onto the pool, or numbers.",
    )
    withholding: Literal["groups", "attack"] = Field(
        default="groups",
        description="Who withholds: the construction leaves out groups, or the attack.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where models are trained."
    )

    @property
    def withheld_by(self) -> str:
        """Who withholds answers: pairs have no groups to leave out, so there the attack does."""
        return "attack" if self.construction == "pairs" else self.withholding


class Place(Fields):
    """Where files lie; nothing here changes a number.

    ``~`` is the home folder; relative paths are those of the working directory.
    """

    data_dir: AbsolutePath | None = Field(
        default_factory=lambda: _folder("MIBENCH_DATA"),
        description="Folder of the published data files (default: MIBENCH_DATA; without it they "
        "are downloaded).",
    )
    cache_dir: AbsolutePath = Field(
        default_factory=_cache,
        description="Where trained models and their outputs are kept (default: MIBENCH_CACHE, "
        "then the user's cache).",
    )
    plugins: tuple[AbsolutePath, ...] = Field(
        default=(), strict=False, description="Python files that add attacks, models or datasets."
    )

    @classmethod
    def read(cls, given: Mapping[str, Any], where: str = "") -> Self:
        """Return a place from names and values; None stands for the default."""
        return super().read({k: v for k, v in given.items() if v is not None}, where)

    def load_plugins(self) -> None:
        """Let the plugins add to the catalogues; see :func:`mibench.catalogue.load_plugins`."""
        load_plugins(self.plugins)


def told(error: ValidationError, known: Collection[str]) -> str:
    """Return in one sentence what is wrong with some values; `known` are the fields' names."""
    return "; ".join(dict.fromkeys(_sentence(e, known) for e in error.errors()))


def _sentence(error: ErrorDetails, known: Collection[str]) -> str:
    place = [str(p) for p in error["loc"] if p not in ("word", "counts")]
    value, kind = error["input"], error["type"]
    if kind == "extra_forbidden":
        listed = ", ".join(known)
        return f"there is no setting {place[0]!r}; {meant(place[0], known)}known are {listed}"
    name = ": ".join(place[:2]) if place[0] in ("recipe", "sizes", "grid") else place[0]
    if kind == "value_error":
        said = str(error["ctx"]["error"])
    elif place[0] == "recipe" and len(place) > 1:
        said = "it must be a number, a text, true, false or none"
    else:
        said = {
            "int_type": "it must be a whole number",
            "float_type": "it must be a number",
            "bool_type": "it must be true or false",
            "string_type": "it must be a text",
            "dict_type": "give names with values",
            "list_type": "give a list",
            "too_short": "give at least one",
            "string_too_short": "it must not be empty",
            "multiple_of": "it must be even: models come in pairs that share out the samples",
        }.get(kind) or error["msg"].replace("Input should be", "it must be")
    hint = ""
    if isinstance(value, str) and value[:1].isdigit() and "number" in said:
        hint = "; YAML takes 1e-3 for a text, write 1.0e-3"
    return f"{name} is {value!r}; {said}{hint}"
