"""A service with studies in it, workers that train over it, and a browser that watches itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import evolvent as ev
from evolvent.store.connect import open_store
from evolvent.store.tokens import RoleName, tokens_of
from tests.browser.training import HOSTILE, climb, fall
from tests.service.served import ROOT, Served

METRIC = "'; DROP TABLE jobs; --"
WIDTH, HEIGHT = 1280, 900


@dataclass
class Site:
    """A running service and its store, reached directly for set-up."""

    service: Served
    store_url: str
    tokens: dict[RoleName, str]

    @property
    def url(self) -> str:
        return self.service.url

    def create(self, name: str, *, rounds: int = 6, population: int = 4, **more: Any) -> ev.Study:
        return ev.create_study(
            name,
            metric="accuracy",
            mode="max",
            population=population,
            rounds=rounds,
            seed=3,
            space={"lr": ev.LogUniform(1e-4, 1.0), "act": ev.Choice(("relu", "gelu"))},
            store=self.store_url,
            **more,
        )

    def trained(self, name: str, **more: Any) -> ev.Study:
        study = self.create(name, **more)
        study.run(climb, workers=0, progress=False)
        return study

    def hostile(self, name: str = HOSTILE) -> ev.Study:
        study = ev.create_study(
            name,
            metric=METRIC,
            mode="min",
            population=4,
            rounds=4,
            seed=1,
            space={"<b>lr</b>": ev.LogUniform(1e-4, 1.0), "=cmd|x": ev.Uniform(0.1, 1)},
            store=self.store_url,
        )
        study.run(fall, workers=0, progress=False)
        return study

    def store_best(self, study: int) -> float:
        store = open_store(self.store_url)
        score = store.status(study).best_score
        store.close()
        assert score is not None
        return score

    @contextmanager
    def workers(self, study: str, trainable: str, *, n: int = 2) -> Iterator[None]:
        """Train over the service, in processes of their own, for the time of a block."""
        command = [sys.executable, "-m", "evolvent", "worker", self.url, study, trainable]
        env = os.environ | {"EVOLVENT_TOKEN": self.tokens["worker"], "PYTHONPATH": str(ROOT)}
        running = [
            subprocess.Popen(command, cwd=ROOT, env=env, stdout=-3, stderr=-3) for _ in range(n)
        ]
        try:
            yield
        finally:
            for process in running:
                process.kill()
                process.wait()


@dataclass
class Watched:
    """A page, and what it must not do: complain, break its policy, ask other hosts."""

    page: Any
    url: str
    complaints: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        self.page.on("request", self._request)

    def open(self, path: str) -> Any:
        self.page.goto(f"{self.url}{path}")
        return self.page

    def _console(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((f"{self.url}/", "data:")):
            self.complaints.append(f"request to {request.url}")

    def check(self) -> None:
        """Nothing went wrong, but for what a test has brought about itself."""
        left = [c for c in self.complaints if not any(word in c for word in self.expected)]
        assert left == []


def make_tokens(store_url: str) -> dict[RoleName, str]:
    """Make a token for each role."""
    store = open_store(store_url)
    tokens = tokens_of(store)
    roles: tuple[RoleName, ...] = ("viewer", "worker", "admin")
    made = {role: tokens.create(role, name=role)[0] for role in roles}
    store.close()
    return made


def store_in(folder: Path) -> str:
    return f"sqlite:///{folder / 'studies.db'}"
