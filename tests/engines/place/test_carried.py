"""Real scripts: a round of a worker process meets what it meets in the script's own process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from evolvent.engines.local import pickling

# Each script runs the same study with several numbers of workers, in directories of their own.
RUN = """
def run(train, *, workers=(0, 2), rounds=3):
    logs = []
    for n in workers:
        study = ev.create_study(f"w{n}", metric="Q", mode="max", population=6, rounds=rounds,
                                synchronous=True, space={"lr": ev.Uniform(0.1, 1)},
                                store=f"sqlite:///{HERE}/s.db", durability="process")
        study.run(train, workers=n)
        logs.append(sorted((j.id, j.score, str(j.metrics), str(j.hyperparameters), j.parent)
                           for j in study.jobs()))
    assert all(log == logs[0] for log in logs), logs
    print(len(logs[0]), "jobs are the same")
"""
SET_BY_OTHERS = {"PYTHONUNBUFFERED", "OMP_NUM_THREADS", "MKL_NUM_THREADS"}
TOP = (
    "import os, pickle, sys\nfrom pathlib import Path\nimport evolvent as ev\nHERE = os.getcwd()\n"
)


def run_script(tmp_path: Path, text: str, *arguments: str, **environment: str) -> str:
    path = tmp_path / "train.py"
    path.write_text(TOP + RUN + textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, path, *arguments],
        check=False,
        cwd=tmp_path,
        env={n: v for n, v in os.environ.items() if n not in SET_BY_OTHERS} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_module_state_set_at_the_top_gives_the_same_log_with_any_workers(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    assert torch.get_default_dtype() == torch.float32
    said = run_script(
        tmp_path,
        """
        import torch
        torch.set_default_dtype(torch.float64)
        OPTIMIZERS, SETTINGS = {}, {"scale": 1.0}

        def optimizer(make):
            OPTIMIZERS[make.__name__] = make
            return make

        @optimizer
        def sgd(x):
            return x * SETTINGS["scale"]

        def train(job):
            x = torch.tensor(job.hyperparameters["lr"])
            return {"Q": OPTIMIZERS["sgd"](x / 3).item(), "bits": torch.finfo(x.dtype).bits}

        if __name__ == "__main__":
            SETTINGS["scale"] = 3.0  # a value: carried as it is when the run begins
            run(train)
        """,
    )
    assert "18 jobs are the same" in said


GUARDED = """
import argparse, collections, dataclasses, enum, functools, logging, warnings
from concurrent.futures import ProcessPoolExecutor
import __main__

warnings.filterwarnings("error", message="over")
os.makedirs("work", exist_ok=True)
os.chdir("work")
args = None

class Kind(enum.Enum):
    A = 1

Point = collections.namedtuple("Point", "x y")

@dataclasses.dataclass
class Net:
    w: float
    kind: Kind
    at: Point

    class Inner:
        pass

@functools.lru_cache(None)
def cached(x):
    return x + 1

def square(x):
    return x * x

def train(job):
    net = Net(0.0, Kind.A, Point(1, 2))
    if job.checkpoint:
        net = pickle.loads((job.checkpoint / "net").read_bytes())
    assert type(net) is Net is __main__.Net and net.kind is Kind.A, net
    pickle.dumps((Net.Inner(), cached))
    with ProcessPoolExecutor(1) as pool:
        net.w += pool.submit(square, args.step).result() + OFFSET
    try:
        warnings.warn("over")
        raised = 0
    except UserWarning:
        raised = 1
    logging.info("job %s", job.id)
    (job.directory / "net").write_bytes(pickle.dumps(net))
    where = os.getcwd().endswith("work") and Path(__file__).name == "train.py"
    return {"Q": net.w + job.hyperparameters["lr"], "raised": raised, "n": len(sys.argv),
            "where": where, "cached": cached(1), "optimised": sys.flags.optimize}

def main():
    global args
    parser = argparse.ArgumentParser()
    parser.add_argument("--step", type=float)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="<%(levelname)s> %(message)s")
    run(train, workers=(0, 1, 2))

GUARD
    OFFSET = 100.0
    main()
"""


@pytest.mark.parametrize("guard", ['if __name__ == "__main__":', "if True:"])
def test_what_a_script_defines_is_its_own_in_a_worker(tmp_path: Path, guard: str) -> None:
    said = run_script(tmp_path, GUARDED.replace("GUARD", guard), "--step", "3")
    assert "18 jobs are the same" in said
    assert said.count("<INFO> job m0r0") == 3, "once for each number of workers"


def test_a_closure_is_sent_and_meets_the_classes_of_the_script(tmp_path: Path) -> None:
    said = run_script(
        tmp_path,
        """
        import threading
        LOCK = threading.Lock()  # cannot be sent, and need not

        class Net:
            w = 0.0

        def trainable(k):
            class Local(ev.Trainable):
                def setup(self, hyperparameters, context):
                    self.net = Net()
                def apply(self, hyperparameters):
                    self.lr = hyperparameters["lr"]
                def train(self):
                    with LOCK:
                        self.net.w += self.lr * factorial(k)
                    return {"Q": self.net.w}
                def save(self, directory):
                    (directory / "net").write_bytes(pickle.dumps(self.net))
                def load(self, directory):
                    self.net = pickle.loads((directory / "net").read_bytes())
                    assert type(self.net) is Net

            def factorial(n):
                return n * factorial(n - 1) if n else 1

            return Local

        if __name__ == "__main__":
            run(trainable(4))
        """,
    )
    assert "18 jobs are the same" in said


def test_a_script_without_a_guard_is_told_what_workers_lack(tmp_path: Path) -> None:
    said = run_script(
        tmp_path,
        """
        import codecs, decimal
        decimal.getcontext().prec = 5
        codecs.register(lambda name: None)

        class Net:
            pass

        def train(job):
            pickle.dumps(Net())
            return {"Q": job.hyperparameters["lr"]}

        run(train)
        """,
    )
    assert "18 jobs are the same" in said
    (line,) = [line for line in said.splitlines() if "workers will not see" in line]
    assert "workers will not see what train.py does at its top: codecs.register(" in line
    assert 'put the run under `if __name__ == "__main__":`' in line


def test_workers_find_the_source_of_cells_and_of_a_script_that_is_edited(tmp_path: Path) -> None:
    said = run_script(
        tmp_path,
        """
        import inspect, linecache
        CELL = (
            "def train(job):\\n"
            "    Path(__file__).write_text('# edited')\\n"
            "    assert len(source(run)) == length\\n"
            "    return {'Q': 1.0, 'n': len(source(train))}"
        )
        linecache.cache["<cell>"] = (len(CELL), None, CELL.splitlines(keepends=True), "<cell>")
        exec(compile(CELL, "<cell>", "exec"))
        source, length = inspect.getsource, len(inspect.getsource(run))

        if __name__ == "__main__":
            run(train, workers=(2,))
        """,
    )
    assert "18 jobs are the same" in said


def test_a_study_made_at_the_top_is_found_again_by_workers_and_helpers(tmp_path: Path) -> None:
    said = run_script(
        tmp_path,
        """
        import multiprocessing
        study = ev.create_study("s", metric="Q", mode="max", population=1, rounds=1,
                                space={"lr": ev.Uniform(0.1, 1)}, store="sqlite:///s.db")

        def train(job):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                return {"Q": float(pool.apply(name) == study.name == job.study)}

        def name():
            return study.name

        if __name__ == "__main__":
            print(study.run(train, workers=1, progress=False).best.score)
            print(study.record.trainable)
        """,
    )
    own = [line for line in said.splitlines() if not line.startswith("worker 0 | ")]
    assert own[:2] == ["1.0", f"{tmp_path}/train.py:train"]


def test_a_helper_that_comes_to_the_run_does_not_run_it(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        TOP
        + textwrap.dedent(
            """
            import multiprocessing
            from concurrent.futures import ProcessPoolExecutor

            def train(job):
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                    return {"Q": pool.submit(abs, 1).result()}

            ev.create_study("s", metric="Q", mode="max", population=1, rounds=1, max_failures=0,
                            space={"x": ev.Uniform(0, 1)}, store="sqlite:///s.db",
                            exist_ok=True).run(train, workers=1)
            """
        )
    )
    command = [sys.executable, "train.py"]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert "a process that training code has spawned came to it" in done.stdout + done.stderr


def test_a_top_level_that_raises_in_a_worker_is_shown(tmp_path: Path) -> None:
    said = run_script(
        tmp_path,
        """
        if os.environ.get("STARTED"):
            raise LookupError("not twice")

        def train(job):
            return {"Q": 0.5}

        if __name__ == "__main__":
            os.environ["STARTED"] = "1"
            try:
                run(train, workers=(1,))
            except ev.EvolventError as e:
                print(e)
        """,
    )
    assert "workers run too, has raised in a worker" in said
    assert "LookupError: not twice" in said
    assert "place.py" not in said, "the traceback begins in the script"


def test_a_global_that_cannot_be_sent_is_named(tmp_path: Path) -> None:
    said = run_script(
        tmp_path,
        """
        def train(job):
            return {"Q": len(LOG.name)}

        if __name__ == "__main__":
            LOG = open("log.txt", "w")
            try:
                run(train, workers=(1,))
            except ev.EvolventError as e:
                print(e)
        """,
    )
    assert "trainable: its global 'LOG': cannot be sent to a worker process" in said


def test_threads_that_the_user_has_set_hold_in_workers(tmp_path: Path) -> None:
    text = """
        def train(job):
            names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONUNBUFFERED")
            return {"Q": 1, **{n: int(os.environ.get(n, -1)) for n in names}}

        if __name__ == "__main__":
            study = ev.create_study("s", metric="Q", mode="max", population=2, rounds=1,
                                    space={"lr": ev.Uniform(0.1, 1)}, store="sqlite:///s.db",
                                    algorithm=ev.RandomSearch(), resume=True)
            options = {"threads": int(sys.argv[1])} if len(sys.argv) > 1 else {}
            study.run(train, workers=1, progress=False, **options)
            print(sorted(study.jobs()[-1].metrics.items()))
        """
    said = run_script(tmp_path, text, OMP_NUM_THREADS="3")
    assert "('MKL_NUM_THREADS', 3), ('OMP_NUM_THREADS', 3), ('PYTHONUNBUFFERED', -1)" in said
    (tmp_path / "s.db").unlink()
    said = run_script(tmp_path, text, "2", OMP_NUM_THREADS="3")
    assert "('MKL_NUM_THREADS', 2), ('OMP_NUM_THREADS', 2)" in said


def test_models_and_large_values_in_globals_are_named(tmp_path: Path) -> None:
    said = run_script(
        tmp_path,
        """
        import functools

        class Net:
            def load_state_dict(self, state): ...

        model, DATA = Net(), bytes(110_000_000)

        def step():
            return len(DATA) * (model is not None)

        def train(job, k):
            return {"Q": step() + k}

        run(functools.partial(train, k=2), workers=(1,), rounds=1)
        """,
    )
    assert "the global 'model' (Net) is one for all members that train in one process" in said
    assert "the global 'DATA' is sent to every worker with 110 MB" in said


def test_code_of_another_process_is_not_taken_for_ones_own() -> None:
    def inner() -> int:
        return len(sys.argv)

    trainable, algorithm = pickling.unpack_code(pickling.pack_code(inner, None))
    assert trainable() == inner()
    assert algorithm is None


def test_values_changed_by_main_are_those_of_the_script(tmp_path: Path) -> None:
    said = run_script(
        tmp_path,
        """
        import collections, dataclasses
        import numpy as np

        @dataclasses.dataclass
        class Config:
            k: int = 1
            sizes: list = dataclasses.field(default_factory=list)

        class Net:
            width = 1
            def steps(self):
                return self.width

        def double(x):
            return 2 * x

        CONFIG, ALIAS = Config(), None
        ALIAS = [CONFIG]
        ORDERED, COUNTS = collections.OrderedDict(a=1), collections.defaultdict(int)
        TABLE, WEIGHTS = {"scale": 1.0, "by": None}, np.zeros(3)

        def train(job):
            seen = [CONFIG.k, len(CONFIG.sizes), ALIAS[0].k, Net().steps(), ORDERED["a"],
                    COUNTS["a"], TABLE["by"](TABLE["scale"]), WEIGHTS.sum(), double.calls]
            return {"Q": job.hyperparameters["lr"], "seen": [float(x) for x in seen]}

        def main():
            CONFIG.k, Net.width, double.calls = 2, 3, 4
            CONFIG.sizes.append(64)
            ORDERED["a"], COUNTS["a"] = 5, 6
            TABLE.update(scale=3.5, by=double)
            WEIGHTS[:] = 1.0
            run(train, rounds=1)
            print(ev.load_study(store="sqlite:///s.db").jobs()[0].metrics["seen"])

        if __name__ == "__main__":
            main()
        """,
    )
    assert "6 jobs are the same" in said
    assert "[2.0, 1.0, 2.0, 3.0, 5.0, 6.0, 7.0, 3.0, 4.0]" in said
