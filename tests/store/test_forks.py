"""A process that forks while it uses a store: the child connects anew and leaves the parent alone.

Every test forks in an interpreter of its own: threads that other tests left in ours (JAX has some)
are no business of a child.
"""

import subprocess
import sys
from pathlib import Path

import pytest

BETWEEN_JOBS = """
import os, sys
from evolvent.core.records import JobState
from evolvent.store.connect import open_store
from tests.contract.crew import Crew
store = open_store(sys.argv[1])
crew = Crew(store)
crew.train(0.1)
child = os.fork()
if child == 0:
    try:
        crew.train(0.2)
    finally:
        os._exit(crew.status().counts[JobState.DONE] != 2)
assert os.waitpid(child, 0)[1] == 0
crew.train(0.3)
assert crew.status().counts[JobState.DONE] == 3
store.close()
"""
IN_A_CHANGE_OF_POSTGRES = """
import os, sys
from evolvent.store.connect import open_store
from tests.contract.crew import Crew
store = open_store(sys.argv[1])
crew = Crew(store)
with store._session.work(crew.id) as changing:  # looks inside
    changing.execute("UPDATE study SET epoch = epoch + 1")
    child = os.fork()
    if child == 0:
        try:
            store.stop(crew.id, reason="in the child")
        finally:
            os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert crew.status().stopped == "in the child"
store.close()
"""
BY_A_THREAD_THAT_HAS_A_LOCK = """
import os, threading
from evolvent.store import locks

def fork():
    locks.note_mine("study")
    child = os.fork()
    if child == 0:
        try:
            locks.check_not_mine("study", "s")
        except BaseException:
            os._exit(1)
        os._exit(0)
    status.append(os.waitpid(child, 0)[1])

status = []
thread = threading.Thread(target=fork)
thread.start()
thread.join()
assert status == [0]
"""
IN_A_TRANSACTION_OF_SQLITE = """
import os, signal, sys
from pathlib import Path
from evolvent.store.sqlite.database import SqliteDatabase
database = SqliteDatabase(Path(sys.argv[1]))
with database.write(synced=False):
    child = os.fork()
    if child == 0:
        os.execvp("sleep", ["sleep", "60"])
with database.write(synced=False) as tx:
    assert tx.execute("SELECT count(*) FROM study").fetchone() == (0,)
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
database.close()
"""


def run(script: str, place: object) -> None:
    """Run a script in a fresh interpreter where warnings are errors, but not that of such forks."""
    strict = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]  # since Python 3.12
    command = [sys.executable, *strict, "-c", script, str(place)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_forked_child_makes_its_own_connections(
    kind: str, request: pytest.FixtureRequest
) -> None:
    place = {"sqlite": "tmp_path", "postgres": "postgres_url"}[kind]
    found = request.getfixturevalue(place)
    run(BETWEEN_JOBS, f"sqlite:///{found}/log.db" if kind == "sqlite" else found)


def test_a_child_forked_in_the_middle_of_a_change_can_change_the_same_study(
    postgres_url: str,
) -> None:
    run(IN_A_CHANGE_OF_POSTGRES, postgres_url)


def test_a_child_forked_in_the_middle_of_a_transaction_does_not_hold_it_up(tmp_path: Path) -> None:
    run(IN_A_TRANSACTION_OF_SQLITE, tmp_path / "log.db")


def test_a_child_forked_by_a_thread_has_none_of_its_locks() -> None:
    run(BY_A_THREAD_THAT_HAS_A_LOCK, "nowhere")
