"""Pages as somebody reads them: on a phone, after an error, while searching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import evolvent as ev
from tests.browser.sites import Site, Watched
from tests.browser.training import HOSTILE, gamble
from tests.needs import needs

expect = needs("playwright.sync_api").expect
Visit = Callable[..., Watched]
pytestmark = pytest.mark.slow  # a browser, and one page after another
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def study(site: Site) -> ev.Study:
    return site.trained("read", rounds=20, population=6)


@pytest.fixture(scope="module")
def broken(site: Site) -> ev.Study:
    return site.hostile("broken")


def test_table_on_a_phone_fades_while_there_is_more_and_keeps_its_first_column(
    study: ev.Study, visit: Visit
) -> None:
    page = visit("viewer", **PHONE).open(f"/studies/{study.id}")
    box = page.locator("#jobs .box")
    expect(box).to_have_class("box more")
    box.evaluate("e => e.scrollLeft = 60")
    expect(box).to_have_class("box more moved")
    box.evaluate("e => e.scrollLeft = e.scrollWidth")
    expect(box).to_have_class("box moved")
    first = page.locator("#table tbody th").first
    assert first.evaluate("e => e.getBoundingClientRect().left") == pytest.approx(
        box.evaluate("e => e.getBoundingClientRect().left"), abs=2
    )


def test_panels_stand_below_each_other_on_a_phone(study: ev.Study, visit: Visit) -> None:
    page = visit("viewer", **PHONE).open(f"/studies/{study.id}")
    figure = page.locator("#figure-hyperparameters svg")
    figure.wait_for()
    size = figure.bounding_box()
    assert size["height"] > size["width"]


def test_error_of_a_job_is_said_once_before_the_decision_and_its_end_is_readable(
    broken: ev.Study, visit: Visit
) -> None:
    page = visit("viewer", **PHONE).open(f"/studies/{broken.id}/jobs/m1r2")
    assert page.locator("main").inner_text().count(f"{HOSTILE} went wrong") == 1
    trace = page.locator("#errors .trace")
    assert trace.evaluate("e => e.scrollWidth <= e.clientWidth")
    assert trace.evaluate("e => e.getBoundingClientRect().top") < page.locator(
        "#decision"
    ).evaluate("e => e.getBoundingClientRect().top")
    expect(page.locator(".attempts summary")).to_contain_text("the error above")


def test_page_warns_where_noise_decides_as_a_terminal_does(
    site: Site, study: ev.Study, visit: Visit
) -> None:
    noisy = site.create("noisy", rounds=12, population=8)
    noisy.run(gamble, workers=0, progress=False)
    watched = visit("viewer")
    page = watched.open(f"/studies/{noisy.id}")
    page.locator("#figure-scores svg").wait_for()
    expect(page.locator("#warning")).to_contain_text("Much of what ranks members is noise")
    page = watched.open(f"/studies/{study.id}")
    page.locator("#figure-scores svg").wait_for()
    expect(page.locator("#warning")).to_be_hidden()


def test_titles_of_columns_stand_over_their_values_and_dates_in_one_line(
    study: ev.Study, visit: Visit
) -> None:
    page = visit("viewer").open(f"/studies/{study.id}")
    for key in ("took", "finished"):
        expect(page.locator("#table th", has_text=key)).to_have_class("num")
    assert page.locator("#standing time").evaluate("e => e.getClientRects().length") == 1
    tops = page.locator("#q, #in-state").evaluate_all(
        "es => es.map(e => [e.offsetTop, e.offsetHeight])"
    )
    assert tops[0] == tops[1]


def test_searching_and_going_back_leave_the_reader_and_the_figures_where_they_are(
    study: ev.Study, visit: Visit
) -> None:
    page = visit("viewer").open(f"/studies/{study.id}")
    page.locator("#figure-family svg").wait_for()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.resource_type))
    page.evaluate("document.addEventListener('evolvent:changed', () => (window.drawnAgain = true))")
    page.locator("#jobs").evaluate("e => e.scrollIntoView()")
    top = page.locator("#jobs").evaluate("e => e.getBoundingClientRect().top")
    page.locator("#table").get_by_role("link", name="lr", exact=True).click()
    expect(page.locator("#table th[aria-sort=descending]")).to_have_text("lr")
    page.get_by_label("State", exact=True).select_option("done")
    page.get_by_label("Search").fill("m3r1")
    page.get_by_label("Search").press("Enter")
    expect(page.locator("#pages")).to_contain_text("(of 120)")
    page.go_back()
    expect(page.locator("#pages")).not_to_contain_text("(of 120)")
    expect(page.get_by_label("Search")).to_have_value("")
    assert abs(page.locator("#jobs").evaluate("e => e.getBoundingClientRect().top") - top) < 2
    assert "document" not in asked
    assert page.evaluate("window.drawnAgain") is None


def test_unknown_paths_have_a_page_too_and_the_api_keeps_its_own_answer(
    site: Site, visit: Visit
) -> None:
    watched = visit("viewer")
    watched.expected = ["status of 404"]
    page = watched.open("/nosuch")
    expect(page.get_by_role("alert").first).to_contain_text("there is nothing at '/nosuch'")
    expect(page.get_by_role("link", name="All studies")).to_be_visible()
    watched.expected.append("status of 405")
    page = watched.open("/sign-out")  # has no page, only a button
    expect(page.get_by_role("alert").first).to_contain_text("method: got GET, wanted POST")
    for path, accept in (("/nosuch", "*/*"), ("/api/v1/nosuch", "text/html")):
        answer = page.request.get(f"{site.url}{path}", headers={"Accept": accept})
        assert answer.json()["error"]["field"] == "path"


def test_wrong_token_is_told_without_backticks(site: Site, browser: Any) -> None:
    page = browser.new_page()
    page.goto(site.url)
    page.get_by_label("Token").fill("evt_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert").locator("code")).to_have_text("evolvent token create")
    expect(page.get_by_role("alert")).not_to_contain_text("`")
    page.close()
