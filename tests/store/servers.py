"""A real PostgreSQL server of the tests' own, thrown away afterwards."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.needs import missing, needs

VARIABLE = "EVOLVENT_TEST_POSTGRES"
PASSWORD = "s3cret / p@ss:word%"
_SETTINGS = """
listen_addresses = '127.0.0.1'
max_connections = 120
shared_buffers = 64MB
logging_collector = off
"""
_HBA = """
local all all trust
host  all all 127.0.0.1/32 scram-sha-256
"""


class Server:
    """One server: started, stopped, killed.

    Attributes:
        url: of a database on it, through its socket, where no password is asked for.
        port: on 127.0.0.1, where user `worker` must give PASSWORD.
        folder: of its files.
        user: who runs it; None for whoever runs the tests.
    """

    def __init__(self, folder: Path, binaries: Path, user: str | None, *, synced: bool) -> None:
        self.folder, self.user, self._binaries = folder, user, binaries
        self.port = free_port()
        self.url = f"postgresql://postgres@:{self.port}/postgres?host={folder}"
        fsync = "on" if synced else "off"
        self._run("initdb", "-D", self.data, "-U", "postgres", "--encoding=UTF8", "--no-sync")
        settings = f"port = {self.port}\nunix_socket_directories = '{folder}'\nfsync = {fsync}\n"
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(_SETTINGS + settings)
        (self.data / "pg_hba.conf").write_text(_HBA)
        self.start()
        quoted = PASSWORD.replace("'", "''")
        self.psql(f"CREATE ROLE worker SUPERUSER LOGIN PASSWORD '{quoted}'")

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        self._run("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-w", "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop; "immediate" is what a crash of the server is."""
        self._run("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop")

    def psql(self, statement: str) -> str:
        """Run a statement; return what it found."""
        return self._run("psql", "-h", self.folder, "-p", str(self.port), "-U", "postgres", "-Atc",
                         statement)  # fmt: skip

    def _run(self, program: str, *arguments: object) -> str:
        command = [str(self._binaries / program), *map(str, arguments)]
        done = subprocess.run(
            command,
            user=self.user,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        if done.returncode != 0:
            log = self.folder / "log"
            told = log.read_text()[-2000:] if log.exists() else ""
            raise RuntimeError(f"{program} failed: {done.stdout}\n{told}")
        return done.stdout.strip()


@contextmanager
def server(*, synced: bool = False) -> Iterator[Server]:
    """Start a server; skip the test where there is none, but fail in CI.

    Args:
        synced: whether it survives a power cut; without, tests are faster.
    """
    binaries = _binaries()
    folder = Path(tempfile.mkdtemp(prefix="evolvent-postgres-"))
    user = _user()
    try:
        if user is not None:
            shutil.chown(folder, user)
        made = Server(folder, binaries, user, synced=synced)
        yield made
        made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def at_hand() -> Iterator[str]:
    """Give the URL of a server: the one that is named, or one of our own."""
    named = os.environ.get(VARIABLE)
    if named:
        yield named
        return
    with server() as own:
        yield own.url


@contextmanager
def schema(url: str) -> Iterator[str]:
    """Give the URL of an empty store on a server, and drop its tables afterwards."""
    psycopg = needs("psycopg")
    name = f"test_{secrets.token_hex(6)}"
    yield f"{url}{'&' if '?' in url else '?'}schema={name}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    if not found:
        on_path = shutil.which("initdb")
        if on_path is None:
            missing(f"no PostgreSQL server here: install it, or set {VARIABLE}")
        return Path(str(on_path)).resolve().parent
    return found[-1].parent


def _version(initdb: Path) -> int:
    return int(initdb.parent.parent.name)


def _user() -> str | None:
    """Return whom to be: the server refuses to be run by root."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def free_port() -> int:
    """Return a port on which nobody listens just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
