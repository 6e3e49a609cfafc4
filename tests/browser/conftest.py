"""A real headless Chromium: skipped where there is none, but not in CI."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.sites import HEIGHT, WIDTH, Site, Watched, make_tokens, store_in
from tests.needs import missing, needs
from tests.service.served import served

CHROMIUM = "/usr/bin/chromium"


# No wider than a module: its event loop must not run any more when other tests want theirs.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = needs("playwright.sync_api")
    if shutil.which(CHROMIUM) is None:
        missing(f"there is no {CHROMIUM}: apt-get install chromium")
    with playwright.sync_playwright() as p:
        options = ["--no-sandbox", "--disable-dev-shm-usage"]  # also as root, in a container
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def site(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("site")
    url = store_in(folder)
    tokens = make_tokens(url)
    with served(url, folder) as service:
        yield Site(service, url, tokens)


@pytest.fixture
def visit(browser: Any, site: Site) -> Iterator[Callable[..., Watched]]:
    """Sign in and return a page; at the end none of them may have complained."""
    contexts, pages = [], []

    def signed_in(role: str = "admin", *, at: Site = site, **context: Any) -> Watched:
        context.setdefault("viewport", {"width": WIDTH, "height": HEIGHT})
        made = browser.new_context(**context)
        contexts.append(made)
        watched = Watched(made.new_page(), at.url)
        pages.append(watched)
        page = watched.open("/")
        page.get_by_label("Token").fill(at.tokens[role])
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="Studies").wait_for()
        return watched

    yield signed_in
    for context in contexts:
        context.close()
    for watched in pages:
        watched.check()
