"""The command line, as ``mibench`` and as ``python -m mibench``."""

import os
import sys


def main() -> None:
    """Run the command that the process was started with."""
    if not sys.stderr.isatty():
        # A file would be filled with every state of every progress bar; read when tqdm is imported.
        os.environ.setdefault("TQDM_DISABLE", "1")
    from mibench.apps import cli

    cli.main()


if __name__ == "__main__":
    main()
