import numpy as np
import pytest
from gymnasium.utils import seeding

from rlmaml_envs.generators import CopyGenerators, copy_seeds


def test_a_copys_generator_is_the_one_a_single_environment_makes_of_its_seed() -> None:
    generators = CopyGenerators(3)
    generators.seed(np.arange(3), copy_seeds(7, 3))
    for copy in range(3):
        assert generators[copy].random() == seeding.np_random(7 + copy)[0].random()


def test_seeding_makes_no_generator() -> None:
    generators = CopyGenerators(3)
    generators.seed(np.arange(3), [1, 2, 3])
    assert len(generators) == 0
    assert generators[1] is generators[1]
    assert len(generators) == 1


def test_only_listed_copies_with_a_seed_start_again() -> None:
    generators = CopyGenerators(3)
    generators.seed(np.arange(3), [1, 2, 3])
    first = [generators[copy].random() for copy in range(3)]
    generators.seed(np.array([0, 1]), [1, None, 3])
    second = [generators[copy].random() for copy in range(3)]
    assert [a == b for a, b in zip(first, second, strict=True)] == [True, False, False]


def test_copies_that_were_never_seeded_differ() -> None:
    generators = CopyGenerators(2)
    assert generators[0].random() != generators[1].random()


def test_a_list_of_seeds_may_hold_numpy_integers_and_none() -> None:
    assert copy_seeds([np.int64(4), None], 2) == [4, None]
    assert copy_seeds(None, 2) == [None, None]


@pytest.mark.parametrize(
    ("seed", "error", "message"),
    [
        ([1, 2], ValueError, "one per copy, 3 here; got 2"),
        ([1, -2, 3], ValueError, "got -2"),
        (-1, ValueError, "got -1"),
        ([1, 0.5, 2], TypeError, "float"),
        (1.5, TypeError, "one int or one per copy; got 1.5"),
        ("123", TypeError, "one int or one per copy; got '123'"),
    ],
)
def test_bad_seeds_are_refused(seed: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        copy_seeds(seed, 3)
