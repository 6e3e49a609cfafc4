"""The best model of a study, as text and as JSON."""

from __future__ import annotations

from typing import Any

from evolvent.cli.render.output import print_schedule
from evolvent.core.space import Space, short
from evolvent.result import Result


def print_best(result: Result) -> None:
    """Print score, hyperparameters, checkpoint and schedule of the best model."""
    best, record = result.best, result.status.record
    values = "  ".join(
        f"{name} {short(v, digits=6)}" for name, v in Space.flatten(best.hyperparameters).items()
    )
    print()
    print(f"best             {record.metric} {short(best.value, digits=6)}  (job {best.job.id})")
    if best.mean is not None:
        print(f"chosen by        {short(best.mean, digits=6)}{result.status.best_note}")
    print(f"hyperparameters  {values}")
    missing = ""
    if not best.directory.is_dir():
        missing = "  (the service keeps it; not here yet)" if best.kept else "  (not there)"
    print(f"checkpoint       {best.directory}{missing}")
    print()
    rounds = best.schedule.rounds
    print(f"schedule of its {rounds} round{'' if rounds == 1 else 's'} of training")
    print_schedule(best.schedule, indent="  ")


def best_as_json(result: Result) -> dict[str, Any]:
    """Return the state of a study and its best model; `best` is None while no job is done."""
    status = result.status
    head = {
        "study": result.name,
        "state": str(status.state),
        "jobs": {str(state): n for state, n in status.counts.items() if n},
    }
    if status.best is None:
        return {**head, "best": None}
    best = result.best
    return {
        **head,
        "best": {
            "id": str(best.job.id),
            "member": best.member,
            "round": best.round,
            "score": best.score,
            "value": best.value,
            "mean": best.mean,
            "n_scores": best.n_scores,
            "metrics": dict(best.job.metrics),
            "hyperparameters": best.hyperparameters,
            "checkpoint": str(best.directory) if best.directory.is_dir() else None,
            "lineage": [str(job.id) for job in best.lineage],
            "schedule": [
                {
                    "start": segment.start,
                    "rounds": segment.length,
                    "member": segment.member,
                    "hyperparameters": segment.hyperparameters,
                }
                for segment in best.schedule.segments
            ],
        },
    }
