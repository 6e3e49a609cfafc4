"""Ray Tune's PBT with its defaults on tasks of the zoo: same starts, seeds, interval and budget.

Run by `zoo.py --ray`, with a Python that has Ray; prints a line of JSON for each seed. Values that
Ray moves out of the space are brought back to its bounds where they are used, as its users do.
"""

from __future__ import annotations

import json
import logging
import math
import os
import pickle
import random
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _ray_environment import RAY_ENVIRONMENT

os.environ.update(
    RAY_ENVIRONMENT,
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
    OMP_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
)

import ray
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining
from ray.tune.search.basic_variant import BasicVariantGenerator

import evolvent as ev
from _zoo_arms import task_of
from _zoo_simulation import Outcome, study_of
from evolvent.core.distributions import Choice, Distribution, IntUniform, LogUniform, Ordinal
from evolvent.core.heads import first_heads
from evolvent.core.rng import training_seed


class RayMember(tune.Trainable):
    """A member as a Ray trainable; what it trains is looked up by name."""

    def setup(self, config: dict[str, Any]) -> None:
        self.task = task_of(config["task"])
        self.state: Any = None

    def step(self) -> dict[str, float]:
        # A copy takes over the whole configuration of its donor: whose seed it is, its name says.
        member = int(self.trial_id.rpartition("_")[2])
        seed = training_seed(self.config["seed"], member, self.iteration)
        if self.state is None:
            self.state = self.task.start(seed)
        values = self.task.space.clip({name: self.config[name] for name in self.task.space})
        trained = self.task.train(self.state, values, self.config["steps"], seed)
        self.state = trained.state
        # Ray cannot rank what is no number: the worst there is instead
        score = trained.score if math.isfinite(trained.score) else -1e9
        return {"score": score, "true_score": trained.true_score}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "state.pickle").write_bytes(pickle.dumps(self.state))

    def load_checkpoint(self, checkpoint: str) -> None:
        self.state = pickle.loads(Path(checkpoint, "state.pickle").read_bytes())

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.config = new_config
        self.setup(new_config)
        return True


class Watcher(tune.Callback):
    """Keeps what each trial reported, in the order in which it did."""

    def __init__(self) -> None:
        self.reports: dict[str, list[tuple[float, float]]] = {}

    def on_trial_result(self, iteration, trials, trial, result, **info) -> None:
        report = result["score"], result["true_score"]
        self.reports.setdefault(trial.trial_id, []).append(report)


def main() -> None:
    asked = json.loads(sys.argv[1])
    ray.init(
        num_cpus=asked["workers"],
        include_dashboard=False,
        object_store_memory=128 * 1024 * 1024,
        logging_level=logging.ERROR,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}},
    )
    for seed in asked.pop("seeds"):
        print(json.dumps({"seed": seed, **run(asked, seed)._asdict()}), flush=True)
    ray.shutdown()


def run(asked: Mapping[str, Any], seed: int) -> Outcome:
    """Run one experiment."""
    task = task_of(asked["task"])
    study = study_of(
        task,
        ev.RandomSearch(),
        population=asked["population"],
        interval=asked["interval"],
        seed=seed,
    )
    starts = [dict(head.hyperparameters) for head in first_heads(study)]
    space = {name: _domain(distribution) for name, distribution in task.space.items()}
    mutations = {name: _mutation(distribution) for name, distribution in task.space.items()}
    random.seed(seed)  # of which Ray draws
    watcher = Watcher()
    with tempfile.TemporaryDirectory(prefix="zoo-ray-") as directory:
        tune.Tuner(
            RayMember,
            param_space={**space, "task": task.name, "seed": seed, "steps": asked["interval"]},
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                num_samples=study.population,
                search_alg=BasicVariantGenerator(points_to_evaluate=starts, random_state=seed),
                scheduler=PopulationBasedTraining(
                    time_attr="training_iteration",
                    perturbation_interval=1,
                    hyperparam_mutations=mutations,
                    synch=asked["synch"],
                ),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=directory,
                name="zoo",
                stop={"training_iteration": study.rounds},
                callbacks=[watcher],
                verbose=0,
            ),
        ).fit()
        log = Path(directory, "zoo", "pbt_global.txt")
        copies = len(log.read_text().splitlines()) if log.exists() else 0
    return _outcome(watcher, copies)


def _outcome(watcher: Watcher, copies: int) -> Outcome:
    ends = [reports[-1][1] for reports in watcher.reports.values()]
    reported = [report for reports in watcher.reports.values() for report in reports]
    best = max((end for end in ends if math.isfinite(end)), default=math.nan)
    return Outcome(best, max(reported)[1], copies, math.nan)


def _domain(distribution: Distribution) -> Any:
    if isinstance(distribution, (Choice, Ordinal)):
        return tune.choice(list(distribution.values))
    whole = isinstance(distribution, (IntUniform, ev.LogIntUniform))
    logarithmic = isinstance(distribution, (LogUniform, ev.LogIntUniform))
    low, high = distribution.low, distribution.high
    if whole:
        return (tune.lograndint if logarithmic else tune.randint)(low, high + 1)
    return (tune.loguniform if logarithmic else tune.uniform)(low, high)


def _mutation(distribution: Distribution) -> Any:
    """Return what Ray mutates: of a list it takes a neighbour, of anything else a multiple."""
    if isinstance(distribution, (Choice, Ordinal)):
        return list(distribution.values)
    return _domain(distribution)


if __name__ == "__main__":
    main()
