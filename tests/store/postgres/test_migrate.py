"""The tables on a PostgreSQL server: fresh or by steps, and many who make them at once."""

from __future__ import annotations

import multiprocessing
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from evolvent.errors import SchemaTooNew, StoreDamaged, StoreUnavailable
from evolvent.store.connect import open_store
from evolvent.store.schema import migrate
from evolvent.store.sql.claim import FAST_CLAIM
from tests.needs import needs
from tests.settings import study_record
from tests.store.crowd import open_and_close

psycopg = needs("psycopg")
statements = needs("evolvent.store.postgres.statements")

VERSION_3 = Path(__file__).parents[1] / "schema" / "version_3.postgres.sql"
SPAWN = multiprocessing.get_context("spawn")
COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable, column_default IS NOT NULL
FROM information_schema.columns WHERE table_schema = current_schema()
ORDER BY table_name, ordinal_position
"""
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()"
OPTIONS = """
SELECT relname, reloptions FROM pg_class
WHERE relnamespace = CAST(current_schema() AS regnamespace) AND relkind = 'r' ORDER BY relname
"""


class Tables:
    """An empty schema to make tables in."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, sql: str, values: dict[str, Any] | None = None) -> Any:
        return self._connection.execute(re.sub(r":(\w+)", r"%(\1)s", sql), values)

    def shape(self) -> dict[str, list[Any]]:
        def found(sql: str) -> list[Any]:
            rows = [re.sub("test_fresh|test_steps", "", repr(row)) for row in self.execute(sql)]
            return sorted(rows)

        return {"columns": found(COLUMNS), "indexes": found(INDEXES), "options": found(OPTIONS)}


@contextmanager
def tables(url: str, name: str) -> Iterator[Tables]:
    with psycopg.connect(url) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        connection.execute(f"SET LOCAL search_path TO {name}")
        yield Tables(connection)
        connection.rollback()


def test_fresh_tables_equal_those_of_version_3_with_every_step_since(postgres: str) -> None:
    with tables(postgres, "test_fresh") as fresh, tables(postgres, "test_steps") as stepped:
        migrate.create(fresh, "postgres")
        stepped.execute(VERSION_3.read_text())
        stepped.execute("INSERT INTO schema_version VALUES (3)")
        migrate.upgrade(stepped, "postgres", to=migrate.VERSION)
        assert fresh.shape() == stepped.shape()
        version = "SELECT version FROM schema_version"
        assert fresh.execute(version).fetchall() == stepped.execute(version).fetchall()


def test_an_older_store_is_brought_up_to_date_when_it_is_opened(
    postgres: str, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(postgres_url)
    study = store.create_study(study_record(name="digits"))
    store.close()
    newer = migrate.VERSION + 1
    folder = tmp_path / "schema"
    shutil.copytree(str(migrate.FOLDER), folder)
    step = folder / "migrations" / f"{newer:04}_invented.postgres.sql"
    step.write_text(
        "-- 100 % invented; by: nobody.\n"
        "ALTER TABLE study ADD extra TEXT;\nCREATE TABLE b (c INT);\n"
    )
    monkeypatch.setattr(migrate, "FOLDER", folder)
    monkeypatch.setattr(migrate, "VERSION", newer)
    for _ in range(2):
        store = open_store(postgres_url)
        assert store.find_study("digits").id == study
        store.close()
    with psycopg.connect(postgres) as connection:
        name = re.search(r"schema=(\w+)", postgres_url)[1]  # type: ignore[index]  # it is there
        found = connection.execute(
            f"SELECT s.extra, b.c, v.version FROM {name}.schema_version v"
            f" CROSS JOIN {name}.study s LEFT JOIN {name}.b ON true"
        ).fetchall()
        assert found == [(None, None, newer)]


@pytest.mark.parametrize("number", [1, 2])
def test_a_schema_of_before_the_first_release_is_refused(postgres_url: str, number: int) -> None:
    set_version(postgres_url, number)
    with pytest.raises(StoreUnavailable, match=rf"postgresql://.*version {number},.*new store"):
        open_store(postgres_url)


def set_version(url: str, number: int) -> None:
    store = open_store(url)
    with store._session.database.write(synced=False) as tx:  # type: ignore[attr-defined]  # another version
        tx.execute("UPDATE schema_version SET version = :number", {"number": number})
    store.close()


def test_a_newer_schema_is_refused_by_name(postgres_url: str) -> None:
    newer = migrate.VERSION + 1
    set_version(postgres_url, newer)
    with pytest.raises(SchemaTooNew, match=rf"postgresql://.*version {newer}.*{migrate.VERSION}"):
        open_store(postgres_url)


def test_a_schema_of_another_program_is_refused_and_left_alone(
    postgres: str, postgres_url: str
) -> None:
    name = re.search(r"schema=(\w+)", postgres_url)[1]  # type: ignore[index]  # it is there
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        connection.execute(f"CREATE TABLE {name}.photos (name text)")
        with pytest.raises(StoreDamaged, match=r"another program.*photos"):
            open_store(postgres_url)
        count = "SELECT count(*) FROM pg_tables WHERE schemaname = %s"
        assert connection.execute(count, (name,)).fetchone() == (1,)


def test_a_store_that_must_be_there_is_not_made(postgres: str, postgres_url: str) -> None:
    with pytest.raises(StoreUnavailable, match="there is no store in schema"):
        open_store(postgres_url, create=False)
    open_store(postgres_url).close()
    open_store(postgres_url, create=False).close()


def test_processes_that_make_the_same_store_at_once_all_open_it(postgres_url: str) -> None:
    start, results = SPAWN.Barrier(4), SPAWN.Queue()
    arguments = (postgres_url, start, results)
    crowd = [SPAWN.Process(target=open_and_close, args=arguments) for _ in range(4)]
    for process in crowd:
        process.start()
    said = [results.get(timeout=60) for _ in crowd]
    for process in crowd:
        process.join()
    assert said == ["opened"] * 4
    store = open_store(postgres_url)
    with store._session.database.read() as tx:  # type: ignore[attr-defined]  # looks inside
        assert len(tx.execute("SELECT id FROM place").fetchall()) == 1
        assert len(tx.execute("SELECT version FROM schema_version").fetchall()) == 1
    store.close()


def test_a_user_who_may_make_nothing_is_told_so(postgres: str, postgres_url: str) -> None:
    role = "evolvent_test_guest"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN")
        try:
            url = postgres_url.replace("postgres@", f"{role}@")
            with pytest.raises(StoreUnavailable, match=r"may not do that.*\?schema="):
                open_store(url)
        finally:
            connection.execute(f"DROP ROLE {role}")


def test_every_table_is_named_with_its_schema() -> None:
    texts = statements.StatementCache("mine")
    made = re.findall(r"CREATE TABLE (\w+)", (migrate.FOLDER / "schema.postgres.sql").read_text())
    assert len(made) == 12
    for name in made:
        assert texts[f"SELECT 1 FROM {name} x"] == f'SELECT 1 FROM "mine".{name} x'.encode()
    assert b"%(worker)s" in texts[FAST_CLAIM]
    assert texts["SELECT 1 % 2 WHERE 'a: b' = :c"] == b"SELECT 1 %% 2 WHERE 'a: b' = %(c)s"
