"""The errors that a user can mend."""


class MIBenchError(Exception):
    """A mistake of input or setting; its one sentence names the thing and the mend.

    The command line prints the sentence without a traceback and exits with code 2. What it quotes
    may hold line ends and other control characters; they are shown by their escapes.
    """

    def __str__(self) -> str:
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in super().__str__())

    def _render_traceback_(self) -> list[str]:
        # IPython asks for it: a notebook shows the sentence, too, without a traceback.
        return [f"{type(self).__name__}: {self}"]


class ScenarioInfeasible(MIBenchError):
    """A pool of samples cannot meet a level of a scenario.

    Attributes
    ----------
    factor : str
        The factor whose level cannot be met.
    wanted : float
        The level asked for.
    reachable : tuple of float
        The interval that this pool reaches; NaN where it reaches none.
    """

    def __init__(self, what: str, factor: str, wanted: float, reachable: tuple[float, float]):
        self.factor, self.wanted, self.reachable = factor, wanted, reachable
        low, high = reachable
        reached = "none" if low != low else f"{low:.4g} to {high:.4g}"
        super().__init__(
            f"{what}: {factor} {wanted:.4g} cannot be met; this pool reaches {reached}"
        )
