"""Small tables for notebooks: readable on light and on dark, everything escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from evolvent.core.records import JobRecord, JobState
from evolvent.store.records import MemberView, StudyStatus

MOST_ROWS = 20
_DIGITS = 5
_FINISHED = (JobState.DONE, JobState.FAILED)
_LONGEST = 80
# Colours come from the page; greys with alpha are seen on white and on black.
_STYLE = """<style>
.evolvent { font-size: 0.9em; line-height: 1.4; }
.evolvent table { border-collapse: collapse; margin: 0.4em 0 0.6em; color: inherit; }
.evolvent th, .evolvent td { padding: 0.1em 0.8em 0.1em 0; text-align: right; border: 0;
  background: none; white-space: nowrap; font-variant-numeric: tabular-nums; color: inherit; }
.evolvent thead th { border-bottom: 1px solid rgba(128, 128, 128, 0.6); font-weight: 600; }
.evolvent tbody th { font-weight: 400; opacity: 0.7; text-align: left; }
.evolvent .words { text-align: left; }
.evolvent .best td { font-weight: 700; }
.evolvent .failed td { opacity: 0.55; }
.evolvent .note { opacity: 0.7; }
.evolvent pre { font-size: 0.9em; color: inherit; background: none; }
</style>"""


def framed(title: str, note: str, *parts: str) -> str:
    """Return a title with a note beside it and parts below it, which are HTML already."""
    head = f"<div><strong>{escape(title)}</strong> <span class='note'>{escape(note)}</span></div>"
    return f"<div class='evolvent'>{_STYLE}{head}{''.join(parts)}</div>"


def facts(values: Mapping[str, Any]) -> str:
    """Return names with their values, one below the other; None is left out."""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td class='words'>{escape(_short(value, _LONGEST))}</td></tr>"
        for name, value in values.items()
        if value is not None
    )
    return f"<table><tbody>{rows}</tbody></table>"


def rows(
    titles: Sequence[str], values: Sequence[Sequence[Any]], *, classes: Sequence[str] = ()
) -> str:
    """Return a table with a line of titles, words to the left, of at most `MOST_ROWS` rows.

    By its class a row stands out; none does when there are no `classes`.
    """
    columns = list(zip(*values, strict=True)) or [()] * len(titles)
    words = [" class='words'" if any(isinstance(v, str) for v in c) else "" for c in columns]
    head = "".join(f"<th{w}>{escape(t)}</th>" for t, w in zip(titles, words, strict=True))
    body = "".join(
        f"<tr class='{escape(kind)}'>{_cells(row, words)}</tr>"
        for row, kind in zip(values, classes or [""] * len(values), strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def note(text: str) -> str:
    """Return a line of small print."""
    return f"<div class='note'>{escape(text)}</div>"


def words(sentences: Iterable[str]) -> str:
    """Return sentences, a line each."""
    return "".join(f"<div>{escape(sentence)}</div>" for sentence in sentences)


def output(lines: Iterable[str]) -> str:
    """Return what a program has written, as it is; "" for nothing."""
    text = "\n".join(lines)
    return f"<pre>{escape(text)}</pre>" if text else ""


def study_facts(status: StudyStatus) -> dict[str, Any]:
    """Return how a study stands, as facts."""
    record, counts = status.record, status.counts
    best = None
    if status.best_value is not None:
        best = f"{_short(status.best_value)}{status.best_note} ({status.best})"
    lost = {JobState.RUNNING: f" ({status.lost} lost)" if status.lost else ""}
    unfinished = [s for s in JobState if s not in _FINISHED and counts[s]]
    others = [f"{counts[s]} {s}{lost.get(s, '')}" for s in unfinished]
    failed = [f"{status.n_failed} of them failed"] if status.n_failed else []
    jobs = f"{status.n_finished} of {status.n_total} finished"
    return {
        f"best {record.metric}": best,
        "metric": f"{record.metric} ({record.mode})",
        "members": status.members,
        "jobs": ", ".join([jobs, *failed, *others]),
        "algorithm": str(record.algorithm),
    }


def state_of(status: StudyStatus) -> str:
    """Return the state of a study with why it was stopped."""
    return f"{status.state} ({status.stop_line})" if status.stopped else str(status.state)


def study_html(status: StudyStatus, members: Iterable[MemberView], url: str) -> str:
    """Return a study with its members, the best ones first, as a page of its own."""
    begun = [(job, view.newest) for view in members if (job := view.current) is not None]
    begun.sort(key=_rank)
    names = list(status.record.space)
    values = [_row(job, newest, status, names) for job, newest in begun[:MOST_ROWS]]
    classes = [_row_class(newest, status) for _, newest in begun[:MOST_ROWS]]
    titles = ["member", "round", "state", status.record.metric, *names, "copied"]
    parts = [facts({**study_facts(status), "store": url}), rows(titles, values, classes=classes)]
    if more := len(begun) - len(values):
        parts.append(note(f"{more} more members"))
    return framed(f"Study {status.record.name}", state_of(status), *parts)


def _row(
    job: JobRecord, newest: JobRecord | None, status: StudyStatus, names: Sequence[str]
) -> list[Any]:
    score = newest.score if newest is not None else None
    value = None if score is None else status.record.score(score)
    copied = "" if job.donor is None else f"from {job.parent}"
    values = [job.hyperparameters.get(name) for name in names]
    return [job.member, job.round, status.shown_state(job), value, *values, copied]


def _rank(begun: tuple[JobRecord, JobRecord | None]) -> tuple[bool, float, int]:
    job, newest = begun
    score = newest.score if newest is not None else None
    return (score is None, -(score or 0.0), job.member)


def _row_class(newest: JobRecord | None, status: StudyStatus) -> str:
    if newest is None:
        return ""
    if newest.state is JobState.FAILED:
        return "failed"
    return "best" if newest.id == status.best else ""


def _cells(row: Sequence[Any], words: Sequence[str]) -> str:
    return "".join(f"<td{w}>{escape(_short(v))}</td>" for v, w in zip(row, words, strict=True))


def _short(value: Any, longest: int = 40) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.{_DIGITS}g}"
    text = str(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"
