"""What one job costs: a claim, a checkpoint of four bytes, a report with its decision.

Function and class form, in this process and with two workers; microseconds of a worker's time for
one job, `durability="process"`, the least of several runs: whatever else the machine does only adds
to it. Beside another checkout the two take turns.

    python benchmarks/jobs.py
    python benchmarks/jobs.py --beside path/to/checkout    # such as a `git worktree` of a release
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FORMS = ("function", "class")
WORKERS = (0, 2)


def main() -> None:
    options = _options()
    sources = [HERE.parent / "src", *(path / "src" for path in options.beside)]
    beside = "".join(f" {path.name:>16} {'ratio':>6}" for path in options.beside)
    print(f"{'us a job':24} {'here':>8}{beside}")
    for form in FORMS:
        for workers in WORKERS:
            task = {
                "form": form,
                "workers": workers,
                "members": options.members,
                "rounds": options.rounds,
                "home": options.dir,
            }
            runs = [[job_us(source, task) for source in sources] for _ in range(options.repeat)]
            print(line(f"{form}, workers={workers}", runs), flush=True)


def job_us(source: Path, task: dict[str, object]) -> float:
    """Run one study in a fresh process, with the package of that source."""
    done = subprocess.run(
        [sys.executable, str(HERE / "_jobs.py"), json.dumps(task)],
        env={**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout)


def line(name: str, runs: list[list[float]]) -> str:
    """Render the least of each, and that of here in units of each of the others."""
    here, *others = map(min, zip(*runs, strict=True))
    beside = "".join(f" {other:16.0f} {here / other:6.3f}" for other in others)
    return f"{name:24} {here:8.0f}{beside}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--beside", type=Path, nargs="*", default=[], help="other checkouts")
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--dir", help="where to write: a directory on the disk to be measured")
    return parser.parse_args()


if __name__ == "__main__":
    main()
