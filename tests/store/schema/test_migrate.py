"""The tables come to the newest version by numbered steps, and a fresh file equals their sum."""

import re
import sqlite3
from importlib import resources
from pathlib import Path

import pytest

from evolvent.errors import SchemaTooNew, StoreDamaged
from evolvent.store.connect import open_store
from evolvent.store.schema import migrate


def database() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)


def schema(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the statement of every table and index, however it is laid out."""
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {name: re.sub(r"\s+", "", sql) for name, sql in rows}


def by_steps() -> sqlite3.Connection:
    connection = database()
    migrate.apply(connection, 1)
    connection.execute("INSERT INTO schema_version VALUES (1)")
    migrate.upgrade(connection, to=migrate.VERSION)
    return connection


def test_a_fresh_schema_equals_the_sum_of_all_steps() -> None:
    fresh = database()
    migrate.create(fresh)
    stepped = by_steps()
    assert schema(fresh) == schema(stepped)
    version = "SELECT version FROM schema_version"
    assert fresh.execute(version).fetchall() == stepped.execute(version).fetchall()
    fresh.close()
    stepped.close()


def test_steps_are_numbered_from_one_to_the_newest_version() -> None:
    folder = resources.files("evolvent.store.schema") / "migrations" / "sqlite"
    numbers = sorted(int(file.name[:4]) for file in folder.iterdir() if file.name.endswith(".sql"))
    assert numbers == list(range(1, migrate.VERSION + 1))


def test_an_older_store_gets_the_steps_it_lacks_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = by_steps()
    newest = migrate.VERSION
    steps = {newest + 1: "ALTER TABLE study ADD COLUMN a TEXT", newest + 2: "CREATE TABLE b (c)"}
    monkeypatch.setattr(migrate, "step", lambda number, _: steps[number])
    migrate.upgrade(connection, to=newest + 1)
    migrate.upgrade(connection, to=newest + 2)
    migrate.upgrade(connection, to=newest + 2)
    assert "b" in schema(connection)
    assert connection.execute("SELECT version FROM schema_version").fetchone() == (newest + 2,)
    connection.close()


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    open_store(f"sqlite:///{path}").close()
    newer = migrate.VERSION + 1
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE schema_version SET version = ?", (newer,))
    connection.close()
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
        assert schema(connection).keys() == {"photos"}
    connection.close()
