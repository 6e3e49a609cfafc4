"""What people do to a study: stop, resume, extend, push, pin, collect."""

from __future__ import annotations

from typing import Any

from evolvent.errors import ConfigError
from evolvent.service import schemas as s
from evolvent.service.calls import Call, Operation
from evolvent.service.identity import Role
from evolvent.store import wire
from evolvent.store.fields import mapped, number, text
from evolvent.validation import check_path

_LONGEST_REASON = 1000


def _stop(call: Call) -> None:
    reason = text(call.body, "reason") if "reason" in call.body else "stopped by hand"
    if not 0 < len(reason) <= _LONGEST_REASON or not reason.isprintable():
        raise ConfigError(
            f"reason: got {reason!r:.80}, wanted 1 to {_LONGEST_REASON} printable characters"
        )
    call.store.stop(call.study, reason=reason)


def _resume(call: Call) -> None:
    call.store.resume(call.study)


def _extend(call: Call) -> None:
    call.store.extend(call.study, rounds=wire.small(call.body, "rounds"))


def _retarget(call: Call) -> None:
    if "target" not in call.body:
        raise ConfigError("target: missing, wanted a number, or null for none")
    target = None if call.body["target"] is None else float(number(call.body, "target"))
    call.store.retarget(call.study, target=target)


def _remember(call: Call) -> None:
    trainable = check_path("trainable", text(call.body, "trainable"))
    call.store.remember(call.study, trainable=trainable)


def _push(call: Call) -> Any:
    record = call.store.status(call.study).record
    values = record.space.check(mapped(call.body, "hyperparameters"), partial=True)
    done = call.body.get("done")
    job = call.store.push(
        call.study,
        values,
        done=None if done is None else wire.report_from_json(mapped(call.body, "done")),
        key=wire.key_from_json(call.body),
    )
    return {"job": job}


def _pin(call: Call) -> None:
    call.store.pin(call.study, wire.job_name(text(call.body, "job")))


def _unpin(call: Call) -> None:
    call.store.unpin(call.study, wire.job_name(text(call.body, "job")))


def _collect(call: Call) -> Any:
    return {"freed": call.store.collect(call.study)}


OPERATIONS = (
    Operation(
        method="POST", path="/studies/{study}/stop", role=Role.ADMIN, run=_stop,
        summary="Give out no more jobs; running ones may still report.", body=s.STOP,
        errors=(404,), changes=True,
    ),
    Operation(
        method="POST", path="/studies/{study}/resume", role=Role.ADMIN, run=_resume,
        summary="Undo stop; in a failed study every member starts again.", body=s.NOTHING,
        errors=(404, 409), changes=True, decides=True,
    ),
    Operation(
        method="POST", path="/studies/{study}/extend", role=Role.ADMIN, run=_extend,
        summary="Set the total number of rounds.", body=s.EXTEND, errors=(404,),
        changes=True, decides=True,
    ),
    Operation(
        method="POST", path="/studies/{study}/retarget", role=Role.ADMIN, run=_retarget,
        summary="Set or remove the value of the metric at which the study stops.",
        body=s.RETARGET, errors=(404,), changes=True,
    ),
    Operation(
        method="POST", path="/studies/{study}/remember", role=Role.ADMIN, run=_remember,
        summary="Keep the import path of the training code; it is never imported here.",
        body=s.REMEMBER, errors=(404,),
    ),
    Operation(
        method="POST", path="/studies/{study}/push", role=Role.ADMIN, run=_push,
        summary="Add a member by hand; hyperparameters left out are drawn.", body=s.PUSH,
        reply=s.JOB_ID, creates=True, errors=(404, 409), changes=True, decides=True,
    ),
    Operation(
        method="POST", path="/studies/{study}/pin", role=Role.ADMIN, run=_pin,
        summary="Keep the checkpoint of a job.", body=s.ONE_JOB, errors=(404, 409),
    ),
    Operation(
        method="POST", path="/studies/{study}/unpin", role=Role.ADMIN, run=_unpin,
        summary="Let the checkpoint of a job go.", body=s.ONE_JOB, errors=(404,),
    ),
    Operation(
        method="POST", path="/studies/{study}/collect", role=Role.WORKER, run=_collect,
        summary="Remove checkpoints that nothing needs.", body=s.NOTHING, reply=s.FREED,
        errors=(404,), slow=True,
    ),
)  # fmt: skip
