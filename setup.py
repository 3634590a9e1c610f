"""What pyproject.toml cannot say: a wheel holds the notebooks and parameter files as well.

They lie beside the package in a checkout, and inside it in a wheel.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithNotebooks(build_py):
    """Copy them where the package is built."""

    def run(self) -> None:
        """Build the package, then add them, unless it is installed as it lies here."""
        super().run()
        for file in [*Path("notebooks").glob("*.ipynb"), *Path("parameters").glob("*.yaml")]:
            if not self.editable_mode:
                target = Path(self.build_lib, "mibench", file)
                target.parent.mkdir(parents=True, exist_ok=True)
                self.copy_file(str(file), str(target))


setup(cmdclass={"build_py": WithNotebooks})
