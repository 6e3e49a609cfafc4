"""Fresh tables equal those of version 3 with every step since, and a file comes up step by step."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evolvent.core.records import Cause, JobId
from evolvent.errors import SchemaTooNew, StoreDamaged, StoreError, StoreUnavailable
from evolvent.store.codec import records
from evolvent.store.connect import open_store
from evolvent.store.schema import migrate
from tests.settings import study_record

VERSION_3 = Path(__file__).with_name("version_3.sqlite.sql")
FROZEN = Path(__file__).parents[2] / "frozen" / "study.sqlite"


def database() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)


def version(connection: sqlite3.Connection) -> list[Any]:
    return connection.execute("SELECT version FROM schema_version").fetchall()


def shape(connection: sqlite3.Connection) -> dict[str, list[Any]]:
    """Return columns and indexes of every table, and what else its statement says."""
    found = {}
    for name, sql in connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    ).fetchall():
        columns = connection.execute(f"PRAGMA table_xinfo({name})").fetchall()
        words = [word for word in ("AUTOINCREMENT", "WITHOUT ROWID") if word in sql]
        found[name] = [columns, index_shapes(connection, name), words]
    return found


def index_shapes(connection: sqlite3.Connection, table: str) -> list[Any]:
    rows = connection.execute(
        'SELECT l.name, l."unique", l.origin, m.sql FROM pragma_index_list(?) l'
        " JOIN sqlite_master m ON m.name = l.name ORDER BY l.name",
        (table,),
    ).fetchall()
    return [(row, connection.execute(f"PRAGMA index_xinfo({row[0]})").fetchall()) for row in rows]


def of_version_3() -> sqlite3.Connection:
    connection = database()
    connection.executescript(VERSION_3.read_text())
    connection.execute("INSERT INTO schema_version VALUES (3)")
    return connection


@pytest.fixture
def invented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], None]:
    """Give what adds a step, as if it had been shipped, and makes it the newest version."""
    folder = tmp_path / "schema"
    shutil.copytree(str(migrate.FOLDER), folder)
    monkeypatch.setattr(migrate, "FOLDER", folder)

    def add(number: int, sql: str) -> None:
        (folder / "migrations" / f"{number:04}_invented.sql").write_text(sql)
        monkeypatch.setattr(migrate, "VERSION", number)

    return add


def test_fresh_tables_equal_those_of_version_3_with_every_step_since() -> None:
    fresh, stepped = database(), of_version_3()
    migrate.create(fresh)
    migrate.upgrade(stepped, to=migrate.VERSION)
    assert shape(fresh) == shape(stepped)
    assert version(fresh) == version(stepped) == [(migrate.VERSION,)]
    fresh.close()
    stepped.close()


def test_a_file_of_older_code_has_the_same_tables() -> None:
    fresh, frozen = of_version_3(), sqlite3.connect(f"file:{FROZEN}?immutable=1", uri=True)
    assert shape(fresh) == shape(frozen)
    assert version(frozen) == [(3,)]
    fresh.close()
    frozen.close()


def test_each_version_since_the_oldest_has_a_step_on_both_databases() -> None:
    folder = Path(str(migrate.FOLDER)) / "migrations"
    for kind, other in (("sqlite", "postgres"), ("postgres", "sqlite")):
        files = [f.name for f in folder.glob("*.sql") if not f.name.endswith(f".{other}.sql")]
        numbers = sorted(int(name[:4]) for name in files)
        assert numbers == list(range(migrate.OLDEST + 1, migrate.VERSION + 1)), kind


def test_a_step_may_differ_between_the_databases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0004_same.sql").write_text("CREATE TABLE four (c INT)")
    (folder / "0005_other.sqlite.sql").write_text("CREATE TABLE five (c INT)")
    (folder / "0005_other.postgres.sql").write_text("no statement of SQLite")
    monkeypatch.setattr(migrate, "FOLDER", tmp_path)
    stepped = of_version_3()
    migrate.upgrade(stepped, to=5)
    assert version(stepped) == [(5,)]
    assert stepped.execute("SELECT * FROM four, five").fetchall() == []
    stepped.close()


REASONS = [
    (0, None, "drawn from the space", Cause.DRAWN),
    (0, None, "given by hand", Cause.GIVEN),
    (0, None, "given by hand: lr, h; the rest drawn from the space", Cause.GIVEN_IN_PART),
    (0, None, "given by hand, trained already", Cause.PUSHED),
    (0, None, "", Cause.UNKNOWN),
    (1, 0, "rank 1 of 4: goes on", Cause.KEPT),
    (1, 3, "rank 4 of 4: copies member 3", Cause.COPIED),
    (1, None, "starts again: all members had failed", Cause.RESTARTED),
    (2, 0, "starts again: all members had failed; a; started from b, the nearest sound ancestor",
     Cause.RESTARTED),
    (2, 0, "goes on; a b is damaged; started from m0r1, the nearest sound ancestor",
     Cause.FELL_BACK),
]  # fmt: skip


@pytest.mark.parametrize(("round_", "parent", "reason", "cause"), REASONS)
def test_causes_of_older_jobs_are_read_out_of_the_words(
    round_: int, parent: int | None, reason: str, cause: Cause
) -> None:
    connection = of_version_3()
    connection.execute(
        "INSERT INTO job (id, study, member, round, state, hyperparameters, metrics, attempt,"
        " finished_at, kept, parent_member, reason)"
        " VALUES (1, 1, 0, ?, 'done', '{}', '{}', 1, 0, 1, ?, ?)",
        (round_, parent, reason),
    )
    migrate.upgrade(connection, to=migrate.VERSION)
    assert connection.execute("SELECT cause FROM job").fetchall() == [(cause,)]
    connection.close()
    start = None if parent is None else JobId(parent, round_ - 1)
    line = {"job": JobId(0, round_), "state": "done", "reason": reason, "parent": start}
    assert records.cause_in_words(line) is cause


def test_the_best_of_an_older_study_is_of_one_score_and_its_settings_stay() -> None:
    connection = of_version_3()
    for name, score in (("begun", None), ("done", 0.5)):
        connection.execute(
            "INSERT INTO study (name, epoch, best_score, created_at, record)"
            " VALUES (?, 0, ?, 0, ?)",
            (name, score, f"settings of {name}"),
        )
    connection.execute("INSERT INTO study (name, epoch, created_at, record) VALUES ('x', 0, 0, '')")
    connection.execute("DELETE FROM study WHERE name = 'x'")
    migrate.upgrade(connection, to=migrate.VERSION)
    found = connection.execute("SELECT name, best_scores, record FROM study ORDER BY id").fetchall()
    assert found == [("begun", None, "settings of begun"), ("done", 1, "settings of done")]
    connection.execute("INSERT INTO study (name, epoch, created_at, record) VALUES ('y', 0, 0, '')")
    assert connection.execute("SELECT id FROM study WHERE name = 'y'").fetchall() == [(4,)]
    connection.close()


def test_a_store_of_version_7_tells_what_is_done_from_now_on(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = open_store(f"sqlite:///{path}")
    study = store.create_study(study_record(name="digits", rounds=3))
    store.extend(study, rounds=4)
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE intervention")
        connection.execute("UPDATE schema_version SET version = 7")
    connection.close()
    store = open_store(f"sqlite:///{path}")
    assert store.interventions(study) == []
    store.extend(study, rounds=9)
    assert [i.words for i in store.interventions(study)] == ["extended from 4 to 9 rounds"]
    store.close()


def test_an_older_store_gets_the_steps_it_lacks_each_once(
    invented: Callable[[int, str], None],
) -> None:
    connection = of_version_3()
    migrate.upgrade(connection, to=migrate.VERSION)
    newest = migrate.VERSION
    invented(newest + 1, "-- A note; with a mark.\nALTER TABLE study ADD COLUMN a TEXT;\n")
    migrate.migrate(connection)
    invented(newest + 2, "CREATE TABLE b (c);\nCREATE INDEX b_by_c ON b (c)")
    migrate.migrate(connection)
    migrate.migrate(connection)
    assert connection.execute("SELECT a FROM study, b").fetchall() == []
    assert version(connection) == [(newest + 2,)]
    connection.close()


def test_a_file_is_brought_up_to_date_when_it_is_opened(
    tmp_path: Path, invented: Callable[[int, str], None]
) -> None:
    path = tmp_path / "log.db"
    shutil.copy(FROZEN, path)
    invented(migrate.VERSION + 1, "ALTER TABLE study ADD COLUMN extra TEXT DEFAULT 'more'")
    for _ in range(2):
        store = open_store(f"sqlite:///{path}")
        assert store.studies()
        store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT DISTINCT extra FROM study").fetchall() == [("more",)]
        assert version(connection) == [(migrate.VERSION,)]
    connection.close()


def test_a_step_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, invented: Callable[[int, str], None]
) -> None:
    path = tmp_path / "log.db"
    open_store(f"sqlite:///{path}").close()
    before = path.read_bytes()
    invented(migrate.VERSION + 1, "CREATE TABLE b (c);\nDROP TABLE nowhere;")
    with pytest.raises(StoreError, match="nowhere"):
        open_store(f"sqlite:///{path}")
    assert path.read_bytes() == before


@pytest.mark.parametrize("number", [1, 2])
def test_a_schema_of_before_the_first_release_is_refused_and_left_alone(
    tmp_path: Path, number: int
) -> None:
    path = with_version(tmp_path / "log.db", number)
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match=rf"log\.db.*version {number},.*name a new store"):
        open_store(f"sqlite:///{path}")
    assert path.read_bytes() == before


def with_version(path: Path, number: int) -> Path:
    open_store(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE schema_version SET version = ?", (number,))
    connection.close()
    return path


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    newer = migrate.VERSION + 1
    path = with_version(tmp_path / "log.db", newer)
    before = path.read_bytes()
    with pytest.raises(SchemaTooNew, match=rf"log\.db.*version {newer}.*knows {migrate.VERSION}"):
        open_store(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_a_file_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "photos.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE photos (name)")
    connection.close()
    with pytest.raises(StoreDamaged, match=r"photos\.db.*another program.*photos"):
        open_store(f"sqlite:///{path}")
    with sqlite3.connect(path) as connection:
        assert shape(connection).keys() == {"photos"}
    connection.close()
