"""The builders that are shipped for tests of strategies."""

from evolvent.core.exploit import Truncation
from evolvent.testing.populations import population, seeded, study_record


def test_worst_member_copies_one_of_the_best():
    members = population(scores=range(10))
    assert Truncation(fraction=0.2)(members[0], members, rng=seeded(1)) in members[8:]


def test_population_is_as_described():
    members = population([0.5, None], round=3, unavailable=[0], hyperparameters=[{"a": 1}, {}])
    assert [(m.id, m.round, m.score, m.available) for m in members] == [
        (0, 3, 0.5, False),
        (1, 3, None, True),
    ]
    assert members[0].hyperparameters == {"a": 1}
    assert population([0.1])[0].hyperparameters == {"lr": 0.1}


def test_settings_can_be_changed_one_by_one():
    record = study_record(population=7)
    assert (record.population, record.metric) == (7, "accuracy")
    assert study_record() == study_record()
