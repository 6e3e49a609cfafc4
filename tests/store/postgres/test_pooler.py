"""pgbouncer in transaction mode between the store and its server: nothing rests on a session."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from evolvent.core.algorithms import PBT
from evolvent.core.records import JobState
from evolvent.store.connect import open_store
from evolvent.store.records import Report
from tests.contract.crew import Crew, lr_is_score
from tests.needs import missing, needs
from tests.settings import study_record, there_are
from tests.store.servers import Server, free_port

needs("psycopg_pool")

CONFIG = """
[databases]
postgres = host={folder} port={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = 3
"""


@pytest.fixture
def pooler(own_server: Server) -> Iterator[int]:
    """Give the port of a pgbouncer that has three connections for everybody."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        missing("no pgbouncer here")
    port = free_port()
    config = own_server.folder / "pgbouncer.ini"
    config.write_text(CONFIG.format(folder=own_server.folder, server=own_server.port, port=port))
    process = subprocess.Popen(
        [str(program), str(config)],
        user=own_server.user,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _wait_for(port)
    yield port
    process.send_signal(signal.SIGKILL)
    process.wait()


def _wait_for(port: int) -> None:
    for _ in range(100):
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.05)


def test_threads_of_two_stores_share_three_connections(pooler: int, tmp_path: Path) -> None:
    url = f"postgresql://postgres@127.0.0.1:{pooler}/postgres?checkpoints={tmp_path}"
    stores = [open_store(url), open_store(url)]
    crew = Crew(stores[0], study_record(population=8, rounds=20, algorithm=PBT()))
    address = crew.save()
    errors: list[Exception] = []

    def labour(number: int) -> None:
        store = stores[number % 2]
        try:
            while lease := store.claim(crew.id, worker=f"w{number}", lease_s=3600.0):
                store.heartbeat(lease, lease_s=3600.0)
                store.report(lease, Report(lr_is_score(lease.job), {}, address))
                store.status(crew.id)
        except Exception as e:  # noqa: BLE001 - told below
            errors.append(e)

    threads = [threading.Thread(target=labour, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert there_are(crew.status()) == {JobState.DONE: 160}
    with stores[0].dump(crew.id, checkpoints="none") as (dump, _):
        assert len(list(dump.jobs)) == 160
    for store in stores:
        store.close()
