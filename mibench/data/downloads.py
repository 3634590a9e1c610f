"""Downloads over https, with progress, checksum and resumption."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from mibench import progress
from mibench.errors import MIBenchError

if TYPE_CHECKING:
    import requests

_TIMEOUT = 30


def fetch(url: str, known_hash: str, directory: Path) -> Path:
    """Download a file, or return it where it is there already and whole.

    An interrupted download leaves what it has in a file ending in `.part` and continues from
    there next time, if the server can do so.

    Parameters
    ----------
    url : str
        Of https, as is every address that it is redirected to.
    known_hash : str
        The published checksum, as "algorithm:hexadecimal".
    directory : Path

    Raises
    ------
    MIBenchError
        If the file cannot be had, or is not the published one.
    """
    import pooch

    name = url.rsplit("/", 1)[-1]
    part = directory / f"{name}.part"
    lock = directory / f".{name}.lock"

    def resume(url: str, output_file: str, _: Any) -> None:
        _continue(url, part)
        os.replace(part, output_file)

    try:
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            return Path(pooch.retrieve(url, known_hash, name, directory, downloader=resume))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise MIBenchError(
            f"{name} could not be downloaded ({reason}); fetch it from {url} and give its folder "
            "with --data-dir or MIBENCH_DATA"
        ) from None


def _session() -> requests.Session:
    """Return a session that knows no way to speak plain http, also after a redirect."""
    import requests

    session = requests.Session()
    del session.adapters["http://"]
    return session


def _continue(url: str, part: Path) -> None:
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with (
        _session() as session,
        session.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer,
    ):
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            # All of it is there, or more: the checksum decides.
            return
        answer.raise_for_status()
        resumed = answer.status_code == requests.codes.partial_content
        have = have if resumed else 0
        total = int(answer.headers.get("Content-Length", 0)) + have
        with (
            part.open("ab" if resumed else "wb") as file,
            progress.bar(
                total=total, initial=have, unit="B", unit_scale=True, desc=part.stem
            ) as bar,
        ):
            for chunk in answer.iter_content(1 << 16):
                bar.update(file.write(chunk))
        if part.stat().st_size < total:
            raise OSError(f"{part.stat().st_size} of {total} bytes came; try again")
