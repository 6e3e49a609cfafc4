"""Population Based Training: train a population, copy the good, change hyperparameters meanwhile.

Every public name is here. They are imported when first used, so that `import evolvent` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from evolvent.engines.place import started as _started  # noqa: F401 - keeps the script's text

__version__ = "0.1.0"

_HOMES = {
    "evolvent.core.algorithms": "PBT RandomSearch SmallPopulation",
    "evolvent.core.exploit": "BinaryTournament CopyBest NoExploit TTest Truncation",
    "evolvent.core.explore": "CustomExplore Gaussian NoExplore NothingExplored Perturb Resample "
    "Shift StepsTooLarge UnrepeatableExplore ZeroTrap",
    "evolvent.core.distributions": "Choice Constant IntUniform LogIntUniform LogUniform Normal "
    "Ordinal ReverseLogUniform Uniform",
    "evolvent.core.records": "Copy JobRecord Keep Member Stop",
    "evolvent.core.space": "LooksLikeRange",
    "evolvent.core.population": "Population",
    "evolvent.analysis.schedule.schedule": "Schedule",
    "evolvent.comparing": "compare",
    "evolvent.engines.job": "Context Job WorkerContext",
    "evolvent.engines.trainable": "Trainable",
    "evolvent.errors": "AllMembersFailed ArchiveError CheckpointError ConfigError DecisionError "
    "EvolventError LeaseLost StoreError StudyExists TrainableError UnknownJob UnknownStudy",
    "evolvent.plotting": "plot",
    "evolvent.result": "Result",
    "evolvent.store": "open_store",
    "evolvent.studies": "create_study import_study list_studies load_study",
    "evolvent.study": "Study",
    "evolvent.testing.check": "check",
}
_MODULES = ("keras", "mlflow", "optax", "tensorboard", "torch", "wandb")
"""Of `evolvent.integrations`, each of which needs its library."""
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = ["__version__", *_HOME_OF, *_MODULES]  # noqa: PLE0604 - no name is told twice

if TYPE_CHECKING:
    from evolvent.analysis.schedule.schedule import Schedule as Schedule
    from evolvent.comparing import compare as compare
    from evolvent.core.algorithms import PBT as PBT
    from evolvent.core.algorithms import RandomSearch as RandomSearch
    from evolvent.core.algorithms import SmallPopulation as SmallPopulation
    from evolvent.core.distributions import Choice as Choice
    from evolvent.core.distributions import Constant as Constant
    from evolvent.core.distributions import IntUniform as IntUniform
    from evolvent.core.distributions import LogIntUniform as LogIntUniform
    from evolvent.core.distributions import LogUniform as LogUniform
    from evolvent.core.distributions import Normal as Normal
    from evolvent.core.distributions import Ordinal as Ordinal
    from evolvent.core.distributions import ReverseLogUniform as ReverseLogUniform
    from evolvent.core.distributions import Uniform as Uniform
    from evolvent.core.exploit import BinaryTournament as BinaryTournament
    from evolvent.core.exploit import CopyBest as CopyBest
    from evolvent.core.exploit import NoExploit as NoExploit
    from evolvent.core.exploit import Truncation as Truncation
    from evolvent.core.exploit import TTest as TTest
    from evolvent.core.explore import CustomExplore as CustomExplore
    from evolvent.core.explore import Gaussian as Gaussian
    from evolvent.core.explore import NoExplore as NoExplore
    from evolvent.core.explore import NothingExplored as NothingExplored
    from evolvent.core.explore import Perturb as Perturb
    from evolvent.core.explore import Resample as Resample
    from evolvent.core.explore import Shift as Shift
    from evolvent.core.explore import StepsTooLarge as StepsTooLarge
    from evolvent.core.explore import UnrepeatableExplore as UnrepeatableExplore
    from evolvent.core.explore import ZeroTrap as ZeroTrap
    from evolvent.core.population import Population as Population
    from evolvent.core.records import Copy as Copy
    from evolvent.core.records import JobRecord as JobRecord
    from evolvent.core.records import Keep as Keep
    from evolvent.core.records import Member as Member
    from evolvent.core.records import Stop as Stop
    from evolvent.core.space import LooksLikeRange as LooksLikeRange
    from evolvent.engines.job import Context as Context
    from evolvent.engines.job import Job as Job
    from evolvent.engines.job import WorkerContext as WorkerContext
    from evolvent.engines.trainable import Trainable as Trainable
    from evolvent.errors import AllMembersFailed as AllMembersFailed
    from evolvent.errors import ArchiveError as ArchiveError
    from evolvent.errors import CheckpointError as CheckpointError
    from evolvent.errors import ConfigError as ConfigError
    from evolvent.errors import DecisionError as DecisionError
    from evolvent.errors import EvolventError as EvolventError
    from evolvent.errors import LeaseLost as LeaseLost
    from evolvent.errors import StoreError as StoreError
    from evolvent.errors import StudyExists as StudyExists
    from evolvent.errors import TrainableError as TrainableError
    from evolvent.errors import UnknownJob as UnknownJob
    from evolvent.errors import UnknownStudy as UnknownStudy
    from evolvent.integrations import keras as keras
    from evolvent.integrations import mlflow as mlflow
    from evolvent.integrations import optax as optax
    from evolvent.integrations import tensorboard as tensorboard
    from evolvent.integrations import torch as torch
    from evolvent.integrations import wandb as wandb
    from evolvent.plotting import plot as plot
    from evolvent.result import Result as Result
    from evolvent.store import open_store as open_store
    from evolvent.studies import create_study as create_study
    from evolvent.studies import import_study as import_study
    from evolvent.studies import list_studies as list_studies
    from evolvent.studies import load_study as load_study
    from evolvent.study import Study as Study
    from evolvent.testing.check import check as check


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        value = getattr(importlib.import_module(_HOME_OF[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"evolvent.integrations.{name}")
    else:
        raise AttributeError(f"module 'evolvent' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
