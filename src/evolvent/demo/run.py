"""`evolvent demo`: a population against random search, on two cores, in about a minute."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec

from rich.console import Console
from rich.text import Text

from evolvent.core.algorithms import PBT
from evolvent.core.distributions import LogUniform, Uniform
from evolvent.core.exploit import Truncation
from evolvent.core.explore import Gaussian, Perturb
from evolvent.core.records import JobState
from evolvent.display.progress import Progress
from evolvent.display.table import study_table
from evolvent.errors import MissingExtra
from evolvent.result import Result
from evolvent.store import open_store
from evolvent.store.protocol import Store
from evolvent.studies import create_study
from evolvent.validation import DEFAULT_STORE

TRAINABLE = "evolvent.demo.digits:Digits"
SPACE = {"lr": LogUniform(1e-5, 1.0), "momentum": Uniform(0.1, 0.99), "dropout": Uniform(0.0, 0.8)}
FACTORS = Perturb(factors=(0.8, 1.2))
BREEDING = PBT(
    exploit=Truncation(0.25),
    # dropout may be 0, which no factor can leave: take steps instead
    explore={"lr": FACTORS, "momentum": FACTORS, "dropout": Gaussian(0.1)},
)


@dataclass(frozen=True, slots=True)
class DemoOutcome:
    """What the demo came to. Scores are accuracies: on validation images, then on test images.

    Attributes:
        study: name of the population's study.
        best_job: the job that made the best network.
        best_score: its accuracy on the images by which it was chosen.
        best_test_score: its accuracy on images that had no say.
        best_checkpoint: directory with its weights.
        copies: how often a member copied another.
        control_score: the best of random search, None without.
        control_test_score: the same network on the test images.
        seconds: from start to end, the control included.
        interrupted: whether Ctrl-C cut it short.
    """

    study: str
    best_job: str
    best_score: float
    best_test_score: float
    best_checkpoint: str
    copies: int
    control_score: float | None
    control_test_score: float | None
    seconds: float
    interrupted: bool


def demo(  # noqa: PLR0913 - one keyword an option of the command
    *,
    store: str = DEFAULT_STORE,
    workers: int = 2,
    control: bool = True,
    as_json: bool = False,
    population: int = 8,
    rounds: int = 20,
    console: Console | None = None,
) -> DemoOutcome:
    """Breed small networks on handwritten digits; then give random search the same compute.

    Args:
        store: where both studies go; they stay there to be looked at.
        workers: processes; the results do not depend on how many.
        control: run random search too.
        as_json: write the outcome as the last line of standard output, all else to standard error.
        population: how many members.
        rounds: how many epochs each of them trains.
        console: where to show it.

    Raises:
        MissingExtra: PyTorch or scikit-learn is not installed.
    """
    # Before anything is written, and without the seconds that importing takes.
    if not all(find_spec(name) for name in ("torch", "sklearn")):
        raise MissingExtra("the demo needs PyTorch and scikit-learn: pip install 'evolvent[demo]'")
    started = time.perf_counter()
    shown = console if console is not None else Console(stderr=as_json)
    opened = open_store(store)
    # synchronous: the same result on every run, with any number of workers
    study = create_study(
        _free_name(opened), metric="accuracy", mode="max", space=SPACE, population=population,
        rounds=rounds, seed=0, algorithm=BREEDING, synchronous=True, store=opened,
        trainable=TRAINABLE,
    )  # fmt: skip
    results = [study.run(TRAINABLE, workers=workers, progress=Progress(shown))]
    if control and not results[0].interrupted:
        random = study.control(f"{study.name}-random")
        results.append(random.run(TRAINABLE, workers=workers, progress=Progress(shown)))
    outcome = _outcome(results, seconds=time.perf_counter() - started)
    _show(shown, results, outcome)
    if as_json:
        sys.stdout.write(json.dumps(asdict(outcome)) + "\n")
    return outcome


def _free_name(store: Store) -> str:
    taken = {status.record.name for status in store.studies()}
    name, n = "digits", 1
    while name in taken:
        n += 1
        name = f"digits-{n}"
    return name


def _outcome(results: list[Result], *, seconds: float) -> DemoOutcome:
    bred, best = results[0], results[0].best
    control = results[1].best if len(results) > 1 else None
    return DemoOutcome(
        study=bred.name,
        best_job=best.job.id,
        best_score=best.value,
        best_test_score=best.job.metrics["test_accuracy"],
        best_checkpoint=str(best.checkpoint),
        copies=sum(
            job.donor is not None for job in bred.store.jobs(bred.status.id, states=[JobState.DONE])
        ),
        control_score=control.value if control is not None else None,
        control_test_score=control.job.metrics["test_accuracy"] if control is not None else None,
        seconds=round(seconds, 1),
        interrupted=results[-1].interrupted,
    )


def _show(console: Console, results: list[Result], outcome: DemoOutcome) -> None:
    bred, best = results[0], results[0].best
    members = bred.store.members(bred.status.id)
    console.print()
    console.print(study_table(bred.status, members, width=console.width))
    _say(console, f"\nThe schedule that made the best network, {outcome.best_job}:\n")
    _say(console, str(best.schedule))
    _say(console, _comparison(bred, outcome))
    _say(console, _what_is_kept(outcome))
    _say(console, f"{outcome.seconds:.0f} s in all")


def _comparison(bred: Result, outcome: DemoOutcome) -> str:
    record = bred.status.record
    lines = [
        "\nAccuracy of the best network  validation    test",
        f"  PBT, {outcome.copies:3} copies{_figures(outcome.best_score, outcome.best_test_score)}",
    ]
    if outcome.control_score is not None and outcome.control_test_score is not None:
        figures = _figures(outcome.control_score, outcome.control_test_score)
        lines.append(f"  random search  {figures}")
        lines.append(
            f"  Same {record.population} starts, same {record.population * record.rounds} epochs. "
            "Both are chosen by validation; test images had no say."
        )
    return "\n".join(lines)


def _figures(validation: float, test: float) -> str:
    return f"{validation:24.4f}{test:8.4f}"


def _what_is_kept(outcome: DemoOutcome) -> str:
    return f"""
Its weights: {outcome.best_checkpoint}/model.pt
  model = evolvent.demo.digits.ConvNet()
  model.load_state_dict(torch.load("…/model.pt", weights_only=True))

All of it is kept: evolvent best {outcome.study}, evolvent jobs {outcome.study}"""


def _say(console: Console, text: str) -> None:
    console.print(Text(text), soft_wrap=True)
