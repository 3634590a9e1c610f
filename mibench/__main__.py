"""The command line as ``python -m mibench``."""

from mibench.apps.cli import main

if __name__ == "__main__":
    main()
