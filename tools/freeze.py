"""Write down what the code of today does, for tests/test_frozen.py to hold later code against.

    python -m tools.freeze [openapi] [public] [logs] [wheel] [study]

Without names it writes everything. Only a change that is meant to be seen by users may write
anew, and only the file it concerns; never `study`: it is there because older code wrote it.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import evolvent as ev
from evolvent.core.records import JobId
from evolvent.engines.worker import Worker, WorkerOptions
from evolvent.store.tokens import tokens_of
from tests.frozen import evidence
from tests.frozen.training import ROUNDS, new_study, train
from tests.service.threaded import service

PINNED = "m1r0"


def openapi() -> None:
    """Ask a service."""
    with closing(ev.open_store("memory://")) as store, service(store) as running:
        _write("openapi.json", evidence.as_json(evidence.openapi(running.url, running.token())))


def public() -> None:
    """Look at every public name, at those of the extras in a process that may import them all."""
    command = [sys.executable, "-m", "tests.frozen.evidence"]
    modules = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = evidence.public() | {"modules": json.loads(modules)}
    _write("public.json", evidence.as_json(found))


def logs() -> None:
    """Train the study in this process, once as it is and once a round longer."""
    hashes = {}
    for name, rounds in (("study", ROUNDS), ("extended", ROUNDS + 1)):
        with closing(ev.open_store("memory://")) as store:
            made = new_study(store, rounds=rounds)
            made.run(train, workers=0, progress=False)
            hashes[name] = evidence.log_hash(made)
    _write("logs.json", evidence.as_json(hashes))


def wheel() -> None:
    """List the package."""
    _write("wheel.txt", "".join(f"{path}\n" for path in evidence.packaged()))


def study() -> None:
    """Train the study in a file, with a pin and a token; keep the file and an export of it."""
    with _folder() as folder, closing(ev.open_store("sqlite:///study.db")) as store:
        made = new_study(store)

        def pin(job: JobId) -> None:
            if job == PINNED:  # at once: it is collected when its member has gone on
                made.pin(job)

        Worker(store, made.id, train, WorkerOptions(name="frozen", on_job=pin)).work()
        tokens_of(store).create("worker", study="frozen", name="frozen worker")
        made.export(evidence.FROZEN / "study.zip", checkpoints="kept")
        (evidence.FROZEN / "study.sqlite").unlink(missing_ok=True)
        with closing(sqlite3.connect(folder / "study.db")) as connection:
            connection.execute("VACUUM INTO ?", (str(evidence.FROZEN / "study.sqlite"),))


ALL: dict[str, Callable[[], None]] = {
    "openapi": openapi, "public": public, "logs": logs, "wheel": wheel, "study": study
}  # fmt: skip


def main(names: list[str]) -> None:
    """Write the files named, or all of them."""
    for name in names or ALL:
        ALL[name]()


def _write(name: str, text: str) -> None:
    (evidence.FROZEN / name).write_text(text)


@contextmanager
def _folder() -> Iterator[Path]:
    """Work in an empty directory, so that no path of this machine comes into what is written."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield Path(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
