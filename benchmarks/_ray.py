"""Ray Tune's PBT: the same members, rounds, compute and checkpoint, with its fastest interface."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from _ray_environment import RAY_ENVIRONMENT

os.environ.update(RAY_ENVIRONMENT)

import ray
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining

from _work import Model, bytes_below, first_step, mark_first_step


class Bench(tune.Trainable):
    """The shared work as a Ray trainable; actors are reused, as in the other contenders."""

    def setup(self, config: dict[str, Any]) -> None:
        self.model = Model(config["bytes"])

    def step(self) -> dict[str, float]:
        mark_first_step(self.config["directory"])
        return {"score": self.model.train(self.config["lr"], products=self.config["products"])}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        self.model.save(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: str) -> None:
        self.model.load(Path(checkpoint))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.config = new_config
        self.model = Model(new_config["bytes"])
        return True


def main() -> None:
    task = json.loads(sys.argv[1])
    started = time.monotonic()
    ray.init(
        num_cpus=task["workers"],
        include_dashboard=False,
        object_store_memory=256 * 1024 * 1024,
        logging_level=logging.ERROR,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}},
    )
    _tuner(task).fit()
    ended = time.monotonic()
    first = first_step(task["directory"])
    left = bytes_below(Path(task["directory"], "ray"))
    ray.shutdown()
    print(json.dumps({"train_s": ended - first, "first_step_s": first - started, "left": left}))


def _tuner(task: dict[str, Any]) -> tune.Tuner:
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=1,
        quantile_fraction=0.25,
        hyperparam_mutations={"lr": tune.loguniform(1e-4, 1.0)},
    )
    fixed = {name: task[name] for name in ("bytes", "products", "directory")}
    return tune.Tuner(
        Bench,
        param_space={"lr": tune.loguniform(1e-4, 1.0), **fixed},
        tune_config=tune.TuneConfig(
            metric="score",
            mode="max",
            num_samples=task["members"],
            scheduler=scheduler,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=str(Path(task["directory"], "ray")),
            stop={"training_iteration": task["rounds"]},
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
            verbose=0,
        ),
    )


if __name__ == "__main__":
    main()
