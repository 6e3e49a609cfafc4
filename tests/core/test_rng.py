from __future__ import annotations

import pickle

import numpy as np
import pytest

from evolvent.core.rng import deferred, realised, stream, training_seed


def test_a_name_gives_the_same_draws_forever() -> None:
    # Literal: another value would change every stored study that is resumed.
    assert stream(1, "decide", 3, 12).random() == 0.9808399017879889
    assert training_seed(1, 3, 12) == 1322430402


@pytest.mark.parametrize(
    "other",
    [(2, "decide", 3, 12), (1, "initial", 3, 12), (1, "decide", 31, 2), (1, "decide", 3, 1)],
)
def test_another_name_gives_other_draws(other: tuple[int, str, int, int]) -> None:
    assert stream(*other).random() != stream(1, "decide", 3, 12).random()


def test_neighbouring_streams_are_not_correlated() -> None:
    draws = np.array([[*stream(0, "decide", m, 0).random(200)] for m in range(50)])
    off_diagonal = np.corrcoef(draws)[~np.eye(50, dtype=bool)]
    assert abs(off_diagonal).max() < 0.35
    assert draws.mean() == pytest.approx(0.5, abs=0.012)


def test_a_deferred_stream_draws_what_the_stream_draws() -> None:
    late, now = deferred(1, "decide", 3, 12), stream(1, "decide", 3, 12)
    assert [late.random(), late.random(), late.integers(100)] == [
        now.random(),
        now.random(),
        now.integers(100),
    ]


def test_foreign_code_gets_a_true_generator() -> None:
    late = deferred(1, "decide", 3, 12)
    first = late.random()
    assert isinstance(realised(late), np.random.Generator)
    assert realised(late).random() != first
    true = stream(1, "a", 0, 0)
    assert realised(true) is true


def test_a_stream_can_be_pickled() -> None:
    rng = stream(1, "a", 0, 0)
    assert pickle.loads(pickle.dumps(rng)).random() == rng.random()


def test_a_stream_has_children_that_are_the_same_each_time() -> None:
    parent, again = stream(1, "decide", 3, 12), stream(1, "decide", 3, 12)
    first, second = parent.spawn(2)
    (third,) = pickle.loads(pickle.dumps(parent)).spawn(1)
    drawn = [child.random() for child in (first, second, third)]
    assert [child.random() for child in again.spawn(3)] == drawn
    assert len({*drawn, parent.random()}) == 4
    assert first.spawn(1)[0].random() not in drawn


def test_training_seeds_fit_every_library() -> None:
    seeds = {training_seed(s, m, r) for s in range(5) for m in range(20) for r in range(20)}
    assert len(seeds) == 2000
    assert min(seeds) >= 0
    assert max(seeds) < 2**31
