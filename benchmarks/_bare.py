"""The bare loop: two processes, the same compute, the same files written and synced, no PBT."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from _work import FILE, Model, bytes_below, first_step, mark_first_step


def main() -> None:
    task = json.loads(sys.argv[1])
    started = time.monotonic()
    context = get_context("spawn")
    shares = [range(slot, task["members"], task["workers"]) for slot in range(task["workers"])]
    processes = [context.Process(target=train, args=(task, list(share))) for share in shares]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    ended = time.monotonic()
    first = first_step(task["directory"])
    left = bytes_below(Path(task["directory"], "checkpoints"))
    print(json.dumps({"train_s": ended - first, "first_step_s": first - started, "left": left}))


def train(task: dict[str, Any], members: list[int]) -> None:
    """Train some members in turn, each from the state it has in memory."""
    models = {member: Model(task["bytes"]) for member in members}
    for number in range(task["rounds"]):
        for member, model in models.items():
            mark_first_step(task["directory"])
            model.train(0.1, products=task["products"])
            save(model, Path(task["directory"], "checkpoints", f"m{member}"), number, task)


def save(model: Model, home: Path, number: int, task: dict[str, Any]) -> None:
    """Write aside, rename, remove the one before; with the two syncs that a power cut asks for."""
    staged, final = home / "staged", home / f"r{number}"
    staged.mkdir(parents=True)
    model.save(staged)
    if task["durability"] == "power":
        sync(staged / FILE)
    staged.rename(final)
    if task["durability"] == "power":
        sync(home)
    if number:
        shutil.rmtree(home / f"r{number - 1}")


def sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


if __name__ == "__main__":
    main()
