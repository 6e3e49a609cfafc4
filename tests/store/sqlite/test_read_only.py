"""A study where nothing may be written: an archive, another user's, a read-only mount."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import evolvent as ev
from evolvent.errors import (
    SchemaTooNew,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
)
from evolvent.store.connect import open_store
from evolvent.store.schema import migrate
from evolvent.store.sqlite.database import SqliteDatabase

NOBODY = 65534


def train(job: ev.Job) -> dict[str, float]:
    (job.directory / "weights").write_text(f"{job.id}")
    return {"Q": job.hyperparameters["lr"]}


def new_study(path: Path, name: str = "digits") -> ev.Study:
    study = ev.create_study(
        name, metric="Q", mode="max", population=2, rounds=3, seed=1, store=f"sqlite:///{path}",
        space={"lr": ev.Uniform(0, 1)}, algorithm=ev.PBT(ev.CopyBest()),
    )  # fmt: skip
    study.run(train, workers=0, progress=False)
    return study


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that any user may look into, unlike those of pytest."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    for path in (directory, *directory.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(directory)


@contextmanager
def ordinary_user(*read_only: Path) -> Iterator[None]:
    """Be somebody for whom permissions hold and these paths are read-only."""
    for path in read_only:
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.getuid() == 0
    if root:
        os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        if root:
            os.setresuid(0, 0, 0)


def look(place: Path, out: Path) -> dict[str, Any]:
    """Read all there is to be read, as the commands do."""
    url = f"sqlite:///{place}/log.db"
    study = ev.load_study(store=url)
    result = study.result()
    export = study.export(out / "digits.zip")
    seen = {
        "studies": [status.record.name for status in ev.list_studies(url)],
        "jobs": [(str(job.id), job.score) for job in study.jobs()],
        "members": len(study.members()),
        "frame": len(result.jobs()) if find_spec("pandas") else None,
        "best": (result.best.checkpoint / "weights").read_text(),
        "explanation": str(study.explain("m1r2")),
        "export": [str(job.id) for job in ev.import_study(export, store="memory://").jobs()],
    }  # fmt: skip
    export.unlink()
    study.store.close()
    return seen


def files(place: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(place)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in place.rglob("*")
    }


def test_all_can_be_seen_and_nothing_is_written(place: Path) -> None:
    new_study(place / "log.db").store.close()
    (place / "log.db.lock").unlink()  # as on a medium that somebody has put together by hand
    out = Path(tempfile.mkdtemp(dir=place.parent))
    out.chmod(0o777)
    before = look(place, out)
    (place / "log.db.lock").unlink()
    inside = [path for path in place.rglob("*") if path.is_dir()]
    there = files(place)
    with ordinary_user(place, place / "log.db", *inside):
        assert look(place, out) == before
    assert files(place) == there
    shutil.rmtree(out)


WRITES: list[Callable[[ev.Study], object]] = [
    lambda study: study.run(train, workers=0, progress=False),
    lambda study: study.next_job(),
    lambda study: study.stop(),
    lambda study: study.extend(9),
    lambda study: study.pin("m0r0"),
    lambda study: study.push({"lr": 0.5}),
    lambda study: study.collect(),
    lambda study: study.delete(),
    lambda study: ev.create_study(
        "new", metric="Q", mode="max", population=2, rounds=3, space={"lr": 1.0}, store=study.store
    ),
]


def test_what_would_write_is_refused_and_says_why(place: Path) -> None:
    study = new_study(place / "log.db")
    study.extend(4)
    study.store.close()
    there = files(place)
    with ordinary_user(place):
        study = ev.load_study(store=f"sqlite:///{place}/log.db")
        for write in WRITES:
            with pytest.raises(StoreUnavailable, match=rf"log\.db: directory {place} is read-only"):
                write(study)
    assert files(place) == there


def test_a_file_that_may_not_be_written_is_read_where_others_may_be(place: Path) -> None:
    new_study(place / "log.db").store.close()
    (place / "log.db.lock").unlink()
    place.chmod(0o777)
    there = files(place)
    with ordinary_user(place / "log.db"):
        study = ev.load_study(store=f"sqlite:///{place}/log.db")
        assert len(study.jobs("done")) == 6
        with pytest.raises(StoreUnavailable, match=r"log\.db: it is read-only for this user"):
            study.stop()
    assert files(place) == there


def test_a_study_that_another_user_trains_is_seen_as_it_grows(place: Path) -> None:
    study = new_study(place / "log.db")  # its log is open
    mine = Path(f"{place}/log.db")
    place.chmod(0o755)
    with ordinary_user(place, mine):
        reading = open_store(f"sqlite:///{mine}")
        assert len(reading.studies()) == 1
    mine.chmod(0o644)
    place.chmod(0o755)
    new_study(mine, "second")
    with ordinary_user(place, mine):
        assert len(reading.studies()) == 2
    study.store.close()


def test_only_where_nobody_can_write_a_lease_ends_no_more(place: Path) -> None:
    study = new_study(place / "log.db")
    study.extend(4)
    lease = study.store.claim(study.id, worker="w0", lease_s=-1.0)
    assert lease is not None
    study.store.close()
    written_at = lease.job.lease_until - 60.0  # type: ignore[operator]  # it runs
    os.utime(place / "log.db", (written_at, written_at))

    def seen() -> tuple[int, str, float | None]:
        study = ev.load_study(store=f"sqlite:///{place}/log.db")
        status = study.status()
        state = status.shown_state(study.job(lease.job.id))
        study.store.close()
        return status.lost, state, status.read_at

    with ordinary_user(place, place / "log.db"):  # an archive: its worker was at work then
        assert seen() == (0, "running", written_at)
    place.chmod(0o755)
    (place / "log.db").chmod(0o644)
    with ordinary_user():  # another user's, who may be anywhere now
        lost, state, read_at = seen()
    assert (lost, state) == (1, "lost")
    assert read_at is not None
    assert read_at > written_at + 60.0


def test_a_log_without_its_index_is_not_passed_over(place: Path) -> None:
    study = new_study(place / "log.db")
    copy = place / "copy"
    copy.mkdir()
    for name in ("log.db", "log.db-wal"):
        shutil.copy(place / name, copy / name)
    study.store.close()
    with (
        ordinary_user(copy),
        pytest.raises(StoreUnavailable, match=r"newest changes are still in .*log\.db-wal.*copy"),
    ):
        open_store(f"sqlite:///{copy}/log.db")


def test_a_log_with_its_index_is_read(place: Path) -> None:
    study = new_study(place / "log.db")
    copy = place / "copy"
    copy.mkdir()
    for name in ("log.db", "log.db-wal", "log.db-shm"):
        shutil.copy(place / name, copy / name)
        (copy / name).chmod(0o444)
    study.store.close()
    with ordinary_user(copy):
        assert len(ev.load_study(store=f"sqlite:///{copy}/log.db").jobs("done")) == 6


def test_a_file_that_changes_while_it_is_read_is_no_answer(place: Path) -> None:
    new_study(place / "log.db").store.close()
    with ordinary_user(place):
        database = SqliteDatabase(place / "log.db")

    def read(*, changed: bool) -> list[tuple[int]]:
        with database.read() as tx:
            rows: list[tuple[int]] = tx.execute("SELECT count(*) FROM study").fetchall()
            if changed:  # somebody has written, and closed
                os.utime(place / "log.db", ns=(1, 1))
        return rows

    with pytest.raises(StoreBusy, match="changed while it was read"):
        read(changed=True)
    assert read(changed=False) == [(1,)]
    database.close()
    with pytest.raises(StoreUnavailable, match="has been closed"):
        read(changed=False)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ("UPDATE schema_version SET version = version + 1", SchemaTooNew, "newer one"),
        ("UPDATE schema_version SET version = 3", StoreUnavailable, "version 3.*copy it"),
        ("DROP TABLE schema_version", StoreDamaged, "another program"),
        (None, StoreUnavailable, "no study has been created there"),
    ],
)
def test_tables_that_only_writing_could_bring_up_are_refused(
    change: str | None, error: type[StoreError], says: str, place: Path
) -> None:
    path = place / "log.db"
    if change is None:
        path.touch()
    else:
        SqliteDatabase(path).close()
        connection = sqlite3.connect(path)
        connection.execute(change)
        connection.commit()
        connection.close()
    assert migrate.VERSION > 3
    with ordinary_user(place), pytest.raises(error, match=rf"log\.db: .*{says}"):
        open_store(f"sqlite:///{path}")
