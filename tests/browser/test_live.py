"""Pages that are open while a study trains over the service, and while the service goes away."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.sites import Site, Watched, make_tokens, store_in
from tests.browser.training import climb
from tests.needs import needs
from tests.service.served import served

expect = needs("playwright.sync_api").expect
pytestmark = pytest.mark.slow  # some take what a study takes to train
NOTHING = "\N{EN DASH}"
PATIENCE_MS = 60_000
Visit = Callable[..., Watched]


def test_page_follows_a_study_that_trains_over_the_service(site: Site, visit: Visit) -> None:
    study = site.create("live", rounds=12)
    page = visit("viewer").open(f"/studies/{study.id}")
    expect(page.locator("#best")).to_have_text(NOTHING)
    seen: list[str] = []
    with site.workers("live", "tests.browser.training:climb_slowly"):
        for _ in range(2):
            expect(page.locator("#best")).not_to_have_text(
                seen[-1] if seen else NOTHING, timeout=PATIENCE_MS
            )
            seen.append(page.locator("#best").inner_text())
        figure = page.locator("#figure-scores svg")
        figure.wait_for(timeout=PATIENCE_MS)
        expect(page.locator("#state")).to_have_text("finished", timeout=PATIENCE_MS)
    assert sorted(seen, key=float) == seen
    expect(page.locator("#standing")).to_contain_text("48 of 48 jobs")
    expect(page.locator("#announce")).to_contain_text("finished: 48 of 48 jobs")
    expect(page.locator("#figure-scores .drawn")).to_have_attribute(
        "aria-label", re.compile(f"job {study.status().best},"), timeout=PATIENCE_MS
    )
    best = site.store_best(study.id)
    expect(page.locator("#best")).to_have_text(f"{best:#.4g}")


def test_end_of_a_study_is_shown_though_it_is_selected_and_an_answer_is_lost(
    site: Site, visit: Visit
) -> None:
    study = site.create("end", rounds=2)
    watched = visit("viewer")
    watched.expected = ["status of 503"]
    page = watched.open(f"/studies/{study.id}")
    page.locator("#figure-scores svg").wait_for(timeout=PATIENCE_MS)
    lost: list[str] = []

    def lose_once(route: Any) -> None:
        if lost:
            route.continue_()
            return
        lost.append(route.request.url)
        route.fulfill(status=503)

    page.route("**/figures/scores?*", lose_once)
    page.evaluate("getSelection().selectAllChildren(document.getElementById('standing'))")
    study.run(climb, workers=0, progress=False)
    # The page was asked for, with the end in it, and what is selected was left as it is.
    expect(page.locator("#state")).to_have_text("finished", timeout=PATIENCE_MS)
    expect(page.locator("#best")).to_have_text(NOTHING)
    page.evaluate("getSelection().removeAllRanges()")
    best = site.store_best(study.id)
    expect(page.locator("#best")).to_have_text(f"{best:#.4g}", timeout=PATIENCE_MS)
    expect(page.locator("#figure-scores .drawn")).to_have_attribute(
        "aria-label", re.compile(f"job {study.status().best},"), timeout=PATIENCE_MS
    )
    assert lost


def test_page_tells_of_a_lost_worker_when_its_lease_ends_and_when_it_is_back(
    site: Site, visit: Visit
) -> None:
    study = site.create("lost")
    lease = study.store.claim(study.id, worker="far/away", lease_s=3600.0)
    assert lease is not None
    page = visit("viewer").open(f"/studies/{study.id}")
    pill = page.locator("#table tbody tr").first.locator(".state")
    expect(pill).to_have_text("running")
    study.store.heartbeat(lease, lease_s=-1.0)
    expect(pill).to_have_text("lost", timeout=PATIENCE_MS)
    expect(page.locator("#lost")).to_contain_text("m0r0: worker far/away was lost")
    expect(page.locator("#standing")).to_contain_text("1 running (1 lost), 3 queued")
    expect(page.locator("#state")).to_have_text("open")
    page.locator("#in-state").select_option("lost")
    expect(page.locator("#table tbody tr")).to_have_count(1)
    study.store.heartbeat(lease, lease_s=3600.0)
    expect(page.locator("#state")).to_have_text("running", timeout=PATIENCE_MS)
    expect(page.locator("#lost")).to_have_text("")
    expect(page.locator("#table")).to_contain_text("No job matches.")


def test_running_job_shows_its_points_and_updates_can_be_switched_off(
    site: Site, visit: Visit
) -> None:
    study = site.create("switched", rounds=50)
    page = visit("viewer").open(f"/studies/{study.id}")
    page.get_by_label("Update by itself").uncheck()
    with site.workers("switched", "tests.browser.training:climb_slowly", n=1):
        other = visit("viewer").open(f"/studies/{study.id}")
        expect(other.locator("#table tbody tr", has_text="done").first).to_be_visible(
            timeout=PATIENCE_MS
        )
        expect(page.locator("#best")).to_have_text(NOTHING)
        page.get_by_label("Update by itself").check()
        expect(page.locator("#best")).not_to_have_text(NOTHING, timeout=PATIENCE_MS)
    other.goto(f"{site.url}/studies/{study.id}/jobs/m0r0")
    other.locator("#figure-points svg").wait_for(timeout=PATIENCE_MS)
    study.stop()


def test_banner_says_that_the_connection_dropped_and_goes_when_it_is_back(
    site: Site, visit: Visit, tmp_path: Path
) -> None:
    url = store_in(tmp_path)
    mine = Site(None, url, make_tokens(url))  # type: ignore[arg-type]  # set below
    study = mine.trained("dropped", rounds=2)
    with served(url, tmp_path) as service:
        mine.service = service
        port = service.port
        watched = visit("viewer", at=mine)
        watched.expected = ["ERR_CONNECTION", "ERR_EMPTY_RESPONSE"]
        page = watched.open(f"/studies/{study.id}")
        page.locator("#figure-family svg").wait_for(timeout=PATIENCE_MS)
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        banner = page.locator("#dropped")
        expect(banner).to_contain_text("Connection lost", timeout=PATIENCE_MS)
    with served(url, tmp_path, "--port", str(port)):
        expect(banner).to_be_hidden(timeout=PATIENCE_MS)
        expect(page.locator("#announce")).to_have_text("Connected again.")
