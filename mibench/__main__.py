"""The command line, as ``mibench`` and as ``python -m mibench``."""


def main() -> None:
    """Run the command that the process was started with."""
    from mibench.apps import cli

    cli.main()


if __name__ == "__main__":
    main()
