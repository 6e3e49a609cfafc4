"""Every page: what it says, to whom, at which width, and what hostile names come to."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest

import evolvent as ev
from tests.browser.sites import METRIC, Site, Watched
from tests.browser.training import HOSTILE
from tests.needs import needs

expect = needs("playwright.sync_api").expect
Visit = Callable[..., Watched]
PHONE = {"viewport": {"width": 375, "height": 800}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def digits(site: Site) -> ev.Study:
    return site.trained("digits", rounds=30, population=6)


@pytest.fixture(scope="module")
def hostile(site: Site) -> ev.Study:
    return site.hostile()


@pytest.mark.slow
def test_table_sorts_searches_turns_pages_and_chooses_columns(
    digits: ev.Study, visit: Visit
) -> None:
    page = visit("viewer").open(f"/studies/{digits.id}")
    rows = page.locator("#table tbody tr")
    expect(rows).to_have_count(50)
    page.locator("#table").get_by_role("link", name="accuracy").click()
    expect(page.locator("#table th", has_text="accuracy")).to_have_attribute(
        "aria-sort", "descending"
    )
    best = digits.status().best
    expect(rows.first).to_contain_text(str(best))
    page.get_by_role("link", name="Next").click()
    expect(page.locator("#pages")).to_contain_text("51\N{EN DASH}100 of 180 jobs")
    page.get_by_label("Search").fill("m3r1")
    page.get_by_label("Search").press("Enter")
    expect(page.locator("#pages")).to_contain_text("(of 180)")
    expect(rows.first).to_contain_text("m3r1")
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("reason").check()
    page.get_by_role("button", name="Show these").click()
    expect(page.locator("#table thead")).to_contain_text("reason")
    assert "columns=reason" in page.url
    page.reload()
    expect(page.locator("#table thead")).to_contain_text("reason")
    expect(page.get_by_label("Search")).to_have_value("m3r1")


def test_csv_has_all_jobs_in_the_order_of_the_log(digits: ev.Study, visit: Visit) -> None:
    page = visit("viewer").open(f"/studies/{digits.id}")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download CSV").click()
    assert waiting.value.suggested_filename == "digits-jobs.csv"
    rows = list(csv.DictReader(io.StringIO(waiting.value.path().read_text())))
    log = digits.jobs()
    assert [row["job"] for row in rows] == [job.id for job in log]
    assert float(rows[7]["accuracy"]) == log[7].metrics["accuracy"]


@pytest.mark.slow
def test_job_page_tells_the_decision_the_parents_and_the_files(
    digits: ev.Study, visit: Visit
) -> None:
    best = str(digits.status().best)
    page = visit("viewer").open(f"/studies/{digits.id}/jobs/{best}")
    expect(page.locator("#decision")).to_contain_text("Decided again from the log")
    expect(page.locator("#line tbody tr")).to_have_count(len(digits.lineage(best)))
    page.locator("#figure-points svg").wait_for()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="state.json").click()
    saved = digits.checkpoint(best) / "state.json"
    assert waiting.value.path().read_bytes() == saved.read_bytes()


@pytest.mark.slow
def test_hostile_names_appear_as_text_everywhere(
    site: Site, hostile: ev.Study, visit: Visit
) -> None:
    watched = visit("admin")
    page = watched.page
    expect(page.get_by_role("link", name=HOSTILE)).to_be_visible()
    page.get_by_role("link", name=HOSTILE).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(HOSTILE)
    expect(page.locator("#table thead")).to_contain_text(METRIC)
    expect(page.locator("#table thead")).to_contain_text("<b>lr</b>")
    page.locator("#figure-hyperparameters svg").wait_for()
    page.locator("#q").fill("went wrong")
    page.locator("#q").press("Enter")
    expect(page.locator("#pages")).to_contain_text("(of 16)")
    watched.open(f"/studies/{hostile.id}/jobs/m1r2")
    expect(page.locator("#errors .trace").first).to_contain_text(f"ValueError: {HOSTILE}")
    assert page.locator("main script, main b:has-text('lr')").count() == 0
    lines = page.request.get(f"{site.url}/studies/{hostile.id}/jobs.csv").text()
    assert "'=cmd|x" in lines.splitlines()[0]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_a_phone_and_figures_have_the_colours_of_the_page(
    digits: ev.Study, hostile: ev.Study, visit: Visit, scheme: str
) -> None:
    watched = visit("admin", color_scheme=scheme, **PHONE)
    for study, job in ((digits, "m3r12"), (hostile, "m1r2")):
        for path in ("/", f"/studies/{study.id}", f"/studies/{study.id}/jobs/{job}"):
            page = watched.open(path)
            for figure in page.locator("[data-figure]").all():
                figure.locator("svg").first.wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") == 375
    page = watched.open(f"/studies/{digits.id}")
    assert page.locator(".box").first.evaluate("e => e.scrollWidth > e.clientWidth")
    assert _colour(page, "body", "color") == (31, 35, 40) or scheme == "dark"
    page.locator("#figure-scores svg").wait_for()
    paper = page.locator("#figure-scores svg").evaluate("e => e.style.backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}[scheme]


def test_all_of_a_page_can_be_reached_and_used_by_keyboard(digits: ev.Study, visit: Visit) -> None:
    page = visit("admin").open(f"/studies/{digits.id}")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.locator(".actions summary", has_text="Extend").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Rounds of every member, in all")).to_be_visible()
    page.get_by_label("Rounds of every member, in all").focus()
    page.keyboard.press("Escape")
    expect(page.get_by_label("Rounds of every member, in all")).to_be_hidden()
    page.locator("#table").get_by_role("link", name="lr", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#table th[aria-sort=descending]")).to_have_text("lr")
    assert page.evaluate("document.activeElement.textContent") == "lr"
    unlabelled = "[...document.querySelectorAll('input:not([type=hidden]), select')]"
    assert page.evaluate(f"{unlabelled}.filter(e => !e.labels.length).length") == 0


def test_unknown_studies_jobs_and_columns_are_said_in_words(digits: ev.Study, visit: Visit) -> None:
    watched = visit("viewer")
    watched.expected = ["status of 404", "status of 422"]
    for path, words in (
        ("/studies/999", "no study"),
        (f"/studies/{digits.id}/jobs/m77r1", "m77r1"),
        (f"/studies/{digits.id}/jobs/nonsense", "wanted member and round"),
        (f"/studies/{digits.id}?sort=nonsense", "wanted one of job, state"),
        (f"/studies/{digits.id}?page=0", "wanted a whole number"),
    ):
        expect(watched.open(path).get_by_role("alert").first).to_contain_text(words)


def _colour(page: Any, selector: str, name: str) -> tuple[int, ...]:
    text = page.locator(selector).evaluate(f"e => getComputedStyle(e)['{name}']")
    return tuple(int(part) for part in text.strip("rgb()").split(","))
