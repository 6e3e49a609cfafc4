"""The installed Ray at work, in a process of its own: breed, or breed and replay policy files.

    python ray_pbt.py breed DIRECTORY [async]   twelve iterations of four trials
    python ray_pbt.py both DIRECTORY POLICY ITERATIONS [POLICY ITERATIONS ...]

Both print one line of JSON last. The second replays after it bred: one start of Ray takes longer
than all of that.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    RAY_AIR_NEW_OUTPUT="0",
    RAY_DEDUP_LOGS="0",
    RAY_TRAIN_V2_ENABLED="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    RAY_AUTH_MODE="disabled",  # or it leaves a token in the home directory
)
warnings.simplefilter("ignore")

import ray  # noqa: E402 - reads the environment
from ray import tune  # noqa: E402
from ray.tune.schedulers import PopulationBasedTraining, PopulationBasedTrainingReplay  # noqa: E402

ITERATIONS = 12


class Climb(tune.Trainable):
    """Carries along, in its checkpoint, what it was trained with in every iteration."""

    def setup(self, config: dict[str, Any]) -> None:
        self.history: list[dict[str, Any]] = []

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.config = new_config
        self.history = []
        return True

    def step(self) -> dict[str, Any]:
        self.history.append(self.config)
        score = sum(1 - abs(values["lr"] - 0.3) for values in self.history)
        return {"score": score, "history": json.dumps(self.history)}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "history.json").write_text(json.dumps(self.history))

    def load_checkpoint(self, checkpoint: str) -> None:
        self.history = json.loads(Path(checkpoint, "history.json").read_text())


def breed(directory: Path, *, synchronous: bool) -> dict[str, Any]:
    """Return what the weights of each trial saw in truth, and what Ray parses from its log."""
    random.seed(1)
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=2,
        quantile_fraction=0.5,
        synch=synchronous,
        hyperparam_mutations={
            "lr": tune.uniform(0.01, 1.0),
            "batch": [8, 16, 32],
            "optimizer": {"name": ["sgd", "adam"]},
        },
    )
    space = {
        "lr": tune.grid_search([0.9, 0.01, 0.5, 0.1]),
        "batch": 16,
        "optimizer": {"name": "sgd", "nesterov": True},
        "note": None,
    }
    stop = {"training_iteration": ITERATIONS}
    results = fit(directory, "breed", scheduler, space=space, stop=stop)
    logs = sorted((directory / "breed").glob("pbt_policy_*.txt"))
    return {
        "trained": {r.metrics["trial_id"]: json.loads(r.metrics["history"]) for r in results},
        "parsed": {log.name: parsed(PopulationBasedTrainingReplay(str(log))) for log in logs},
    }


def replay(directory: Path, policy: str, iterations: int) -> dict[str, Any]:
    """Return what Ray's replay parses from a policy file and what it trains under it.

    Without `checkpoint_frequency`: with it, a replay of Ray 2.60 ends in silence after a change.
    """
    scheduler = PopulationBasedTrainingReplay(policy)
    read = parsed(scheduler)
    results = fit(
        directory,
        f"replay-{Path(policy).stem}",
        scheduler,
        space=None,
        stop={"training_iteration": iterations},
    )
    return {**read, "trained": json.loads(results[0].metrics["history"])}


def parsed(replay: PopulationBasedTrainingReplay) -> dict[str, Any]:
    return {"first": replay.config, "changes": replay._policy}


def fit(directory: Path, name: str, scheduler: Any, *, space: Any, stop: Any) -> Any:
    tuner = tune.Tuner(
        Climb,
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="score" if space else None,
            mode="max" if space else None,
            scheduler=scheduler,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"trial_{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(directory),
            stop=stop,
            verbose=0,
        ),
    )
    return tuner.fit()


def main() -> None:
    task, directory, *rest = sys.argv[1:]
    home = tempfile.mkdtemp(prefix="evr")  # short: a socket's path has at most 107 characters
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=128 * 1024 * 1024,
        logging_level=logging.ERROR,
        log_to_driver=False,
        _temp_dir=home,
    )
    try:
        said = breed(Path(directory), synchronous=rest != ["async"])
        if task == "both":
            policies = zip(rest[::2], map(int, rest[1::2]), strict=True)
            said["replays"] = [replay(Path(directory), *policy) for policy in policies]
    finally:
        ray.shutdown()
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(said))  # noqa: T201 - read by the test


if __name__ == "__main__":
    main()
