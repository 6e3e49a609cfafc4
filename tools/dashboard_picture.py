"""docs/dashboard.png made anew: a toy study in a real service, seen by a real Chromium.

python -m tools.dashboard_picture [docs/dashboard.png] [light|dark] [width]
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from playwright.sync_api import sync_playwright

import evolvent as ev
from evolvent.store.tokens import tokens_of
from tests.service.served import served

DONE, RUNNING, SECONDS_EACH = 126, 5, 0.2
SPACE = {"lr": ev.LogUniform(1e-4, 1.0), "momentum": ev.Uniform(0.1, 0.99),
         "dropout": ev.Uniform(0.0, 0.6), "optimizer": ev.Choice(["sgd", "adam"])}  # fmt: skip


def train(job: ev.Job) -> dict[str, float]:
    """Learn the faster the nearer the values are to those that suit; they change as it learns."""
    past = json.loads((job.checkpoint / "at.json").read_text()) if job.checkpoint else 0.0
    h = job.hyperparameters
    off = abs(math.log10(h["lr"]) + 1 + 1.5 * past) + abs(h["momentum"] - 0.9) + 0.6 * h["dropout"]
    past += (0.97 - past) * (0.14 if h["optimizer"] == "adam" else 0.1) * math.exp(-off)
    (job.directory / "at.json").write_text(json.dumps(past))
    time.sleep(SECONDS_EACH)
    return {"accuracy": past + 0.006 * math.sin(9 * job.member + 4 * job.round)}


def main(file: str = "docs/dashboard.png", scheme: str = "light", width: str = "1280") -> None:
    """Train a part of the study, leave some jobs running, and take the picture."""
    folder = Path(tempfile.mkdtemp())
    study = ev.create_study("toy-climb", metric="accuracy", mode="max", population=12, rounds=24,
                            seed=4, space=SPACE, store=f"sqlite:///{folder}/toy.db")  # fmt: skip
    for job in islice(iter(study.next_job, None), DONE):
        with job:
            job.metrics = train(job)
    _running = [study.next_job() for _ in range(RUNNING)]
    token, _ = tokens_of(study.store).create("admin", name="Ada")
    with served(study.store.url, folder) as service, sync_playwright() as playwright:
        browser = {"executable_path": "/usr/bin/chromium", "args": ["--no-sandbox"]}
        chromium = playwright.chromium.launch(**browser)
        page = chromium.new_page(viewport={"width": int(width), "height": 900}, color_scheme=scheme)
        page.goto(f"{service.url}/sign-in?next=/studies/{study.id}")
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Sign in").click()
        page.locator("#figure-family svg").wait_for()
        end = page.locator("#figure-family").bounding_box()
        whole = {"x": 0, "y": 0, "width": int(width), "height": end["y"] + end["height"] + 16}
        page.screenshot(path=file, full_page=True, clip=whole)


if __name__ == "__main__":
    main(*sys.argv[1:])
