"""Builders for tests of archives: studies half-way, and archives tampered with."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import evolvent as ev

File = TypeVar("File", Path, io.BytesIO)
SPACE = {"step": ev.Uniform(0.1, 1.0), "optimizer": {"kind": ev.Choice(["sgd", "adam"])}}


def climb(job: ev.Job) -> dict[str, float]:
    """Add `step` to a number that the checkpoint carries; a NaN metric, an infinite point."""
    height = json.loads((job.checkpoint / "h.json").read_text()) if job.checkpoint else 0.0
    height += job.hyperparameters["step"] * (1 + job.seed % 7)
    (job.directory / "h.json").write_text(json.dumps(height))
    (job.directory / "deep").mkdir()
    (job.directory / "deep" / "weights").write_bytes(str(job.id).encode() * 100)
    (job.directory / "empty").mkdir()
    job.log(step=job.round + 0.5, loss=math.inf)
    return {"height": height, "nan": math.nan, "below": -math.inf}


def new_study(store: Any, name: str = "hill", **changes: Any) -> ev.Study:
    settings: dict[str, Any] = {
        "metric": "height",
        "mode": "max",
        "space": SPACE,
        "population": 4,
        "rounds": 6,
        "seed": 3,
        "algorithm": ev.PBT(ev.BinaryTournament(), ev.Perturb()),
        "synchronous": True,
        "durability": "process",
    }
    return ev.create_study(name, store=store, **(settings | changes))


def half_trained(store: Any, name: str = "hill", *, jobs: int = 10, **changes: Any) -> ev.Study:
    """Return a study in which so many jobs are done and one has failed once."""
    study = new_study(store, name, **changes)
    train(study, jobs)
    return study


def train(study: ev.Study, jobs: int) -> None:
    for _ in range(jobs):
        job = study.next_job()
        assert job is not None
        with job:
            job.metrics = climb(job)


def finish(study: ev.Study) -> None:
    study.run(climb, workers=0, progress=False)


def log_of(study: ev.Study) -> list[str]:
    """Return all that is the same however often a study is moved: all but who and when."""
    return sorted(
        repr(
            (job.id, job.state, job.hyperparameters, job.parent, job.score, dict(job.metrics),
             job.checkpoint, job.parent_checkpoint, job.attempt, job.reason, job.error)
        )
        for job in study.jobs()
    )  # fmt: skip


def exact_log_of(study: ev.Study) -> list[str]:
    """Return everything, as text: NaN is not equal to itself."""
    points = [repr(study.points(job.id)) for job in study.jobs()]
    return [repr(study.jobs()), repr(study.failures()), *points]


def renamed(archive: bytes, name: str) -> bytes:
    """Return an archive of the same study under another name."""

    def change(study: dict[str, Any]) -> None:
        study["record"]["name"] = name

    target = io.BytesIO()
    rewritten(io.BytesIO(archive), target, lambda entries: edited(entries, "study.json", change))
    return target.getvalue()


def rewritten(
    source: File, target: File, change: Callable[[dict[str, bytes]], None], *, sign: bool = True
) -> File:
    """Copy an archive with its entries changed; signed: its table of contents agrees again."""
    with zipfile.ZipFile(source) as zipped:
        entries = {name: zipped.read(name) for name in zipped.namelist()}
    change(entries)
    if sign:
        entries["manifest.json"] = _signed(entries)
    with zipfile.ZipFile(target, "w") as zipped:
        for name, content in entries.items():
            zipped.writestr(zipfile.ZipInfo(name), content)
    return target


def edited(
    entries: dict[str, bytes], name: str, change: Callable[[Any], Any], line: int = 0
) -> None:
    """Change the JSON in a line of an entry; what `change` returns takes its place, if anything."""
    lines = entries[name].splitlines()
    value = json.loads(lines[line])
    returned = change(value)
    lines[line] = json.dumps(value if returned is None else returned).encode()
    entries[name] = b"\n".join(lines) + b"\n"


@contextmanager
def untouched(directory: Path) -> Iterator[None]:
    """Check that nothing appears or goes below a directory, but a file's own lock or log."""
    before = listing(directory)
    yield
    assert listing(directory) == before


def listing(directory: Path) -> Mapping[str, str]:
    files = sorted(p for p in directory.rglob("*") if not p.name.endswith(("-wal", "-shm")))
    return {
        str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest()
        if p.is_file() and p.suffix != ".db"
        else ""
        for p in files
    }


def _signed(entries: Mapping[str, bytes]) -> bytes:
    manifest = json.loads(entries["manifest.json"])
    for name, part in manifest["parts"].items():
        content = entries.get(name, b"")
        part["size"], part["lines"] = len(content), content.count(b"\n")
        part["sha256"] = hashlib.sha256(content).hexdigest()
    return json.dumps(manifest).encode()
