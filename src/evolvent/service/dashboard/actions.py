"""What the forms of pages do: the operations of the API, with a body made from a form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from evolvent.service.api.operations import JsonCall, is_whole
from evolvent.service.api.studies import OPERATIONS
from evolvent.store.records import StudyStatus
from evolvent.validation import cut, invalid

Form: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Action:
    """A form of a page.

    Attributes:
        body: makes the body of the operation from the form.
        done: what the page says afterwards.
    """

    operation: JsonCall
    body: Callable[[Form, StudyStatus], dict[str, Any]]
    done: str


def _reason(form: Form, _: StudyStatus) -> dict[str, Any]:
    reason = form.get("reason", "").strip()
    return {"reason": reason} if reason else {}


def _rounds(form: Form, _: StudyStatus) -> dict[str, Any]:
    text = form.get("rounds", "").strip()
    if not is_whole(text, most_digits=9):
        raise invalid("rounds", f"got {cut(text)}, wanted a whole number from 1")
    return {"rounds": int(text)}


def _pushed(form: Form, status: StudyStatus) -> dict[str, Any]:
    given = {
        field.removeprefix("h."): text.strip()
        for field, text in form.items()
        if field.startswith("h.") and text.strip()
    }
    values = {name: status.record.space.parse(name, text) for name, text in given.items()}
    return {"hyperparameters": values}


def _job(form: Form, _: StudyStatus) -> dict[str, Any]:
    return {"job": form.get("job", "")}


def _confirmed(form: Form, status: StudyStatus) -> dict[str, Any]:
    typed = form.get("confirm", "").strip()
    if typed != status.record.name.strip():
        raise invalid(
            "confirm", f"got {cut(typed, 120)}, wanted the name of the study: nothing was deleted"
        )
    return {}


_OF = {f"{o.method} {o.path.removeprefix('/studies/{study}')}": o for o in OPERATIONS}

ACTIONS: Mapping[str, Action] = {
    "stop": Action(_OF["POST /stop"], _reason, "Stopped: running jobs may finish."),
    "resume": Action(_OF["POST /resume"], lambda *_: {}, "Resumed."),
    "extend": Action(_OF["POST /extend"], _rounds, "The number of rounds is set."),
    "push": Action(_OF["POST /push"], _pushed, "A member is queued with these values."),
    "pin": Action(_OF["POST /pin"], _job, "Pinned: its checkpoint is kept."),
    "unpin": Action(_OF["POST /unpin"], _job, "No longer pinned."),
    "delete": Action(_OF["DELETE "], _confirmed, "The study is deleted."),
}
