"""What admins do in the browser, and what others neither see nor may do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import evolvent as ev
from tests.browser.sites import Site, Watched
from tests.needs import needs

expect = needs("playwright.sync_api").expect
Visit = Callable[..., Watched]

pytestmark = pytest.mark.slow  # a browser, and one page after another
PATIENCE_MS = 60_000


def test_admin_stops_resumes_extends_and_pushes(site: Site, visit: Visit) -> None:
    study = site.create("steered", rounds=3)
    page = visit("admin").open(f"/studies/{study.id}")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#state")).to_have_text("stopped")
    assert study.status().stopped == "stopped by hand"
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#state")).to_have_text("open")
    page.locator(".actions summary", has_text="Extend").click()
    page.get_by_label("Rounds of every member, in all").fill("9")
    page.get_by_role("button", name="Set rounds").click()
    expect(page.locator("#standing")).to_contain_text("9 rounds each")
    page.locator(".actions summary", has_text="Push").click()
    page.get_by_role("textbox", name="lr").fill("0.25")
    page.get_by_role("button", name="Push").click()
    expect(page.locator("#standing")).to_contain_text("5 members")
    assert study.job("m4r0").hyperparameters["lr"] == 0.25
    assert study.record.rounds == 9
    done = page.locator("#interventions")
    expect(done.locator("summary")).to_contain_text("Last done to it: pushed m4r0")
    done.locator("summary").click()
    expect(done.locator("li").nth(1)).to_contain_text("extended from 3 to 9 rounds")
    expect(done.locator("li").nth(3)).to_contain_text("stopped by hand")
    assert done.locator("li").count() == 4
    [by] = {one.by for one in study.interventions()}
    expect(done.locator("summary")).to_contain_text(f"by {by}")


def test_what_cannot_be_done_is_said_and_changes_nothing(site: Site, visit: Visit) -> None:
    study = site.create("unchanged", rounds=3)
    watched = visit("admin")
    watched.expected = ["status of 422"]
    page = watched.open(f"/studies/{study.id}")
    page.locator(".actions summary", has_text="Push").click()
    page.get_by_role("textbox", name="lr").fill("seven")
    page.get_by_role("button", name="Push").click()
    expect(page.get_by_role("alert").first).to_contain_text("lr")
    assert study.status().members == 4


def test_admin_pins_and_unpins_a_checkpoint(site: Site, visit: Visit) -> None:
    study = site.trained("pinned", rounds=2)
    best = str(study.status().best)
    page = visit("admin").open(f"/studies/{study.id}/jobs/{best}")
    page.get_by_role("button", name="Pin", exact=True).click()
    expect(page.get_by_role("button", name="Unpin")).to_be_visible()
    assert study.store.pins(study.id) == [best]
    page.get_by_role("button", name="Unpin").click()
    expect(page.get_by_role("button", name="Pin", exact=True)).to_be_visible()
    assert study.store.pins(study.id) == []


def test_deleting_asks_for_the_name(site: Site, visit: Visit) -> None:
    study = site.trained("doomed", rounds=1)
    watched = visit("admin")
    watched.expected = ["status of 422", "status of 404"]  # the page may have asked meanwhile
    page = watched.open(f"/studies/{study.id}")
    page.locator(".actions summary", has_text="Delete").click()
    page.get_by_label("Type its name to confirm").fill("something else")
    page.get_by_role("button", name="Delete this study").click()
    expect(page.get_by_role("alert").first).to_contain_text("nothing was deleted")
    page.locator(".actions summary", has_text="Delete").click()
    page.get_by_label("Type its name to confirm").fill("doomed")
    page.get_by_role("button", name="Delete this study").click()
    expect(page.get_by_role("status").first).to_have_text("The study is deleted.")
    with pytest.raises(ev.EvolventError):
        study.status()


def test_viewer_sees_no_actions_and_is_refused(site: Site, visit: Visit) -> None:
    study = site.trained("looked-at", rounds=2)
    best = str(study.status().best)
    page = visit("viewer").open(f"/studies/{study.id}")
    expect(page.locator(".actions")).to_be_hidden()
    assert page.locator("main form[method=post]").count() == 0
    csrf = page.locator("header input[name=csrf]").get_attribute("value")
    for action in ("stop", "resume", "extend", "push", "pin", "unpin", "delete"):
        form = {"csrf": csrf, "confirm": "looked-at", "rounds": "5", "job": best}
        answer = page.request.post(f"{site.url}/studies/{study.id}/{action}", form=form)
        assert answer.status == 403
    assert study.record.rounds == 2


def test_form_without_the_token_of_the_page_is_refused(site: Site, visit: Visit) -> None:
    study = site.create("forged", rounds=2)
    page = visit("admin").open(f"/studies/{study.id}")
    answer = page.request.post(f"{site.url}/studies/{study.id}/stop", form={"csrf": "0" * 64})
    assert answer.status in {401, 403}
    assert study.status().stopped is None


def test_signing_out_ends_it(site: Site, visit: Visit) -> None:
    page = visit("viewer").page
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(f"{site.url}/studies/1")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_signing_out_takes_back_what_the_page_has_asked(site: Site, visit: Visit) -> None:
    page = visit("viewer").page
    asked: list[Any] = []
    ways_out: list[Any] = []
    page.route("**/sign-out", lambda route: ways_out.append(route))  # noqa: PLW0108 - it is given a name
    page.route(
        f"{site.url}/",
        lambda route: asked.append(route) if asks_again(route.request) else route.continue_(),
    )
    with page.expect_request(asks_again, timeout=PATIENCE_MS):
        pass
    with page.expect_event("requestfailed", asks_again, timeout=PATIENCE_MS):
        # Playwright's own click would wait for the page that is held.
        page.get_by_role("button", name="Sign out").evaluate("button => button.click()")
    while not ways_out:
        page.wait_for_timeout(10)  # lets Playwright call us
    ways_out[0].continue_()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_page_says_that_somebody_has_signed_out(visit: Visit) -> None:
    watched = visit("viewer")
    watched.expected = ["status of 401"]
    watched.page.context.clear_cookies()  # as in another tab
    expect(watched.page.locator("#dropped")).to_contain_text(
        "You are signed out.", timeout=PATIENCE_MS
    )
    watched.page.get_by_role("button", name="Sign in again").click()
    expect(watched.page.get_by_role("heading", name="Sign in")).to_be_visible()


def asks_again(request: Any) -> bool:
    return bool(request.resource_type == "fetch")
