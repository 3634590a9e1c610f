"""The errors that a user can mend."""


class MIBenchError(Exception):
    """A mistake of input or setting; its one sentence names the thing and the mend.

    The command line prints the sentence without a traceback and exits with code 2.
    """


class ScenarioInfeasible(MIBenchError):
    """A pool of samples cannot meet a level of a scenario.

    Attributes
    ----------
    factor : str
        The factor whose level cannot be met.
    wanted : float
        The level asked for.
    reachable : tuple of float
        The interval that this pool reaches.
    """

    def __init__(self, what: str, factor: str, wanted: float, reachable: tuple[float, float]):
        self.factor, self.wanted, self.reachable = factor, wanted, reachable
        super().__init__(
            f"{what}: {factor} {wanted:.4g} cannot be met; this pool reaches "
            f"{reachable[0]:.4g} to {reachable[1]:.4g}"
        )
