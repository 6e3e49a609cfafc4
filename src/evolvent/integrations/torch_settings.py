"""Settings of PyTorch's optimizers: hyperparameters that take effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evolvent.analysis.schedule.segments import flat
from evolvent.errors import ConfigError, MissingExtra

try:
    import torch
except ImportError as e:
    raise MissingExtra("ev.torch needs PyTorch: pip install 'evolvent[torch]'") from e

_BETAS = {"beta1": 0, "beta2": 1}
"""Settings that Adam and its kin keep together in one tuple, `betas`."""


def apply(
    optimizer: torch.optim.Optimizer,
    hyperparameters: Mapping[str, Any],
    names: Sequence[str] | Mapping[str, str] | None = None,
) -> None:
    """Put hyperparameters in force in all parameter groups of an optimizer, and prove it.

    Call it after every load: the loaded state of an optimizer brings the old values along. A
    learning rate scheduler writes its own rate at its next step; do not breed `lr` under one.

    Args:
        optimizer: a live optimizer; its state (momentum buffers, step counts) is left alone.
        hyperparameters: values by name, such as `job.hyperparameters`; names of nested ones are
            dotted (`{"optimizer.lr": "lr"}`).
        names: which of them, where they bear the name of the setting (`("lr", "momentum")`), or
            what each is called in the optimizer (`{"learning_rate": "lr"}`). `"beta1"` and
            `"beta2"` are the two of Adam's `betas`. None: all that the optimizer has, by their
            whole names or else by the last part of a nested one (`optimizer.lr`).

    Raises:
        ConfigError: there is no such hyperparameter or setting, or the value did not take.
    """
    if not isinstance(hyperparameters, Mapping):
        raise wrong_type("hyperparameters", hyperparameters, "a dict such as job.hyperparameters")
    values = flat(hyperparameters)
    for name, setting in settings_by_name(names, values, optimizer).items():
        for group in optimizer.param_groups:
            _write(group, setting, values[name])
        _prove(optimizer, setting, values[name])


def settings_by_name(
    names: Sequence[str] | Mapping[str, str] | None,
    hyperparameters: Mapping[str, Any],
    optimizer: torch.optim.Optimizer,
) -> dict[str, str]:
    """Return which hyperparameters are meant, with the settings they are; arguments as `apply`.

    Raises:
        ConfigError: none is meant, two may be, or there is no such hyperparameter or setting.
    """
    if not hasattr(optimizer, "param_groups"):
        raise wrong_type("optimizer", optimizer, "an optimizer of PyTorch")
    settings = _settings(optimizer)
    pairs = dict(_named_settings(names, hyperparameters, settings))
    for name, setting in pairs.items():
        if name not in hyperparameters:
            raise ConfigError(f"no hyperparameter {name!r}: there are {listed(hyperparameters)}")
        if setting not in settings:
            raise ConfigError(
                f"{name!r}: {type(optimizer).__name__} has no setting {setting!r}: "
                f"it has {listed(settings)}"
            )
    return pairs


def _settings(optimizer: torch.optim.Optimizer) -> list[str]:
    group = optimizer.param_groups[0]
    names = [name for name in group if name not in {"params", "param_names", "betas"}]
    return names + (list(_BETAS) if "betas" in group else [])


def _named_settings(
    names: Sequence[str] | Mapping[str, str] | None,
    hyperparameters: Mapping[str, Any],
    settings: Sequence[str],
) -> Mapping[str, str]:
    if isinstance(names, Mapping):
        return names
    if isinstance(names, str):
        raise ConfigError(f"names: wanted a tuple of names, got {names!r}: write ({names!r},)")
    if names is not None:
        return {name: name for name in names}
    settings_by_name = dict(_matched(hyperparameters, settings))
    if not settings_by_name:
        example = {next(iter(hyperparameters), "learning_rate"): settings[0]}
        raise ConfigError(
            f"none of the hyperparameters {listed(hyperparameters)} is a setting of the optimizer, "
            f"which has {listed(settings)}: say which is which, such as names={example}"
        )
    return settings_by_name


def _matched(
    hyperparameters: Mapping[str, Any], settings: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Yield hyperparameters with the settings whose names they bear, whole or as last part."""
    for setting in settings:
        ends = [name for name in hyperparameters if name.endswith(f".{setting}")]
        if setting in hyperparameters:
            yield setting, setting
        elif len(ends) > 1:
            raise ConfigError(
                f"{setting!r} may be {' or '.join(map(repr, ends))}: say which, such as "
                f"names={ {ends[0]: setting} }"
            )
        elif ends:
            yield ends[0], setting


def _write(group: dict[str, Any], setting: str, value: Any) -> None:
    if setting in _BETAS:
        betas = list(group["betas"])
        betas[_BETAS[setting]] = value
        group["betas"] = tuple(betas)
    elif isinstance(group[setting], torch.Tensor):
        group[setting].fill_(value)  # a captured graph or compiled step reads this very tensor
    else:
        group[setting] = value


def _prove(optimizer: torch.optim.Optimizer, setting: str, value: Any) -> None:
    for group in optimizer.param_groups:
        now = group["betas"][_BETAS[setting]] if setting in _BETAS else group[setting]
        wanted = torch.as_tensor(value).to(now) if isinstance(now, torch.Tensor) else value
        if now != wanted:
            raise ConfigError(
                f"{setting}: set to {value!r}, but {type(optimizer).__name__} says {now!r}: "
                "does it hand out copies of its param_groups? Apply to the optimizer it wraps"
            )


def wrong_type(what: str, got: Any, wanted: str) -> ConfigError:
    """Return the error for an argument of another type."""
    return ConfigError(f"{what}: got {type(got).__name__} {got!r:.80}, wanted {wanted}")


def listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    """Return names as an error message shows them."""
    return ", ".join(map(repr, names)) or "none"
