"""Loggers of a script log in a worker process as they do in the script's own."""

from __future__ import annotations

import logging
import logging.handlers
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolvent.engines.place.logging_setup import LogSetup

TOP = """
import logging, logging.config, logging.handlers, os, sys, warnings
from pathlib import Path
import evolvent as ev

def run(train):
    for n in (0, 2):
        study = ev.create_study(f"w{n}", metric="Q", mode="max", population=2, rounds=1,
                                space={"lr": ev.Uniform(0.1, 1)}, store="sqlite:///s.db",
                                algorithm=ev.RandomSearch(), durability="process")
        study.run(train, workers=n)
"""


def run_script(tmp_path: Path, text: str) -> str:
    (tmp_path / "train.py").write_text(TOP + textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, "train.py"],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def lines_of(path: Path) -> list[str]:
    return sorted(path.read_text().splitlines())


def test_named_loggers_that_main_sets_log_in_workers_too(tmp_path: Path) -> None:
    said = run_script(
        tmp_path,
        """
        log = logging.getLogger("train")

        class Upper(logging.Formatter):
            def format(self, record):
                return super().format(record).upper()

        def only_jobs(record):
            return "job" in record.getMessage()

        def train(job):
            log.debug("job %s", job.id)
            log.debug("nothing")
            logging.getLogger("train.quiet").error("job of a disabled one")
            warnings.warn(f"odd job {job.id}")
            return {"Q": job.hyperparameters["lr"]}

        def main():
            handler = logging.FileHandler("train.log", mode="w")
            handler.setFormatter(Upper("%(levelname)s %(message)s"))
            handler.addFilter(only_jobs)
            log.addHandler(handler)
            log.setLevel(logging.DEBUG)
            log.propagate = False
            logging.getLogger("train.quiet").disabled = True
            logging.basicConfig(filename="root.log", filemode="w", format="%(message)s")
            logging.captureWarnings(True)
            log.info("job before all, which is a long line")
            run(train)
            log.info("job after all, which comes to the end of what workers have written")

        if __name__ == "__main__":
            main()
        """,
    )
    before, *jobs, after = (tmp_path / "train.log").read_text().splitlines()
    assert sorted(jobs) == sorted(2 * ["DEBUG JOB M0R0", "DEBUG JOB M1R0"])
    assert (before[:8], after[:8]) == ("INFO JOB", "INFO JOB")
    root = (tmp_path / "root.log").read_text()
    assert root.count("UserWarning: odd job m0r0") == 2, "captured warnings are logged"
    assert "odd job" not in said
    assert "job of a disabled" not in said + root


def test_what_the_top_level_has_made_is_not_doubled(tmp_path: Path) -> None:
    said = run_script(
        tmp_path,
        """
        log = logging.getLogger("train")
        log.addHandler(logging.FileHandler("top.log"))
        log.addHandler(logging.FileHandler(f"pid-{os.getpid()}.log"))
        gone = logging.StreamHandler()
        log.addHandler(gone)
        logging.basicConfig(filename="root.log")

        def train(job):
            log.warning("job %s", job.id)
            return {"Q": job.hyperparameters["lr"]}

        if __name__ == "__main__":
            log.handlers[0].setFormatter(logging.Formatter("<%(message)s>"))
            log.addHandler(logging.FileHandler("main.log"))
            log.removeHandler(gone)
            run(train)
        """,
    )
    each_twice = sorted(2 * ["job m0r0", "job m1r0"])
    assert lines_of(tmp_path / "top.log") == sorted(f"<{line}>" for line in each_twice)
    assert lines_of(tmp_path / "main.log") == each_twice
    assert lines_of(tmp_path / "root.log") == sorted(f"WARNING:train:{x}" for x in each_twice)
    own = [line for path in tmp_path.glob("pid-*.log") for line in lines_of(path)]
    assert sorted(own) == each_twice
    assert "job m0r0\n" not in said


def test_dict_config_in_main_holds_in_workers_and_what_cannot_is_named_once(tmp_path: Path) -> None:
    said = run_script(
        tmp_path,
        """
        class Mine(logging.Handler):
            def emit(self, record):
                pass

        def train(job):
            logging.getLogger("train.part").info("job %s", job.id)
            return {"Q": job.hyperparameters["lr"]}

        if __name__ == "__main__":
            logging.config.dictConfig({
                "version": 1,
                "formatters": {"short": {"format": "{levelname[0]} {message}", "style": "{"}},
                "handlers": {
                    "turn": {"class": "logging.handlers.RotatingFileHandler", "maxBytes": 20,
                             "backupCount": 9, "filename": "turn.log", "formatter": "short"},
                    "out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout",
                            "formatter": "short"},
                    "mine": {"class": "__main__.Mine"},
                },
                "loggers": {"train": {"level": "INFO", "handlers": ["turn", "out", "mine"]}},
            })
            run(train)
        """,
    )
    lines = [line for path in tmp_path.glob("turn.log*") for line in lines_of(path)]
    assert sorted(lines) == sorted(2 * ["I job m0r0", "I job m1r0"])
    assert said.count("I job m1r0") == 2
    assert said.count("workers log without Mine of logger 'train': set it at the top level") == 1


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("evolvent.of_a_test")
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def test_a_file_that_cannot_be_opened_and_a_filter_that_cannot_be_sent_are_named(
    tmp_path: Path, logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "logs").mkdir()
    logger.addHandler(logging.FileHandler(tmp_path / "logs" / "x.log"))
    logger.addHandler(logging.StreamHandler())
    local = type("Local", (logging.Formatter,), {})
    logger.handlers[1].setFormatter(local("{message}!", style="{"))
    logger.handlers[1].addFilter(lambda _: True)
    logger.addFilter(lambda _: True)
    setup = pickle.loads(pickle.dumps(LogSetup.of_process()))
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.filters.clear()
    os.remove(tmp_path / "logs" / "x.log")
    (tmp_path / "logs").rmdir()
    setup.apply(warns=False)
    assert not caplog.messages
    logger.handlers.clear()
    setup.apply(warns=True)
    (line,) = caplog.messages
    where = "of logger 'evolvent.of_a_test'"
    assert f"a filter {where}, FileHandler {where}, a filter {where}: set it" in line
    (handler,) = logger.handlers
    assert handler.format(logging.makeLogRecord({"msg": "shown"})) == "shown!", "a plain one"


def test_a_file_that_the_top_level_begins_anew_keeps_what_the_script_has_written(
    tmp_path: Path,
) -> None:
    run_script(
        tmp_path,
        """
        logging.basicConfig(filename="run.log", filemode="w", format="%(name)s %(message)s")
        late = logging.FileHandler("late.log", "w", delay=True)
        logging.getLogger("late").addHandler(late)

        def train(job):
            logging.getLogger("late").warning("job %s", job.id)
            return {"Q": 1.0}

        if __name__ == "__main__":
            logging.getLogger("late").warning("begin")
            run(train)
            logging.getLogger("late").warning("end")
        """,
    )
    jobs = ["job m0r0", "job m1r0"]
    want = sorted(["begin", *jobs, *jobs, "end"])
    assert lines_of(tmp_path / "late.log") == want
    said = [line for line in lines_of(tmp_path / "run.log") if line.startswith("late")]
    assert said == [f"late {line}" for line in want]
