from typing import Any

import pytest
import torch

from rlmaml.base.errors import NonFiniteError, UserError
from rlmaml.base.random_streams import RandomStreams
from rlmaml.core.types import Adaptation
from rlmaml.families.sinusoid import Sinusoid
from rlmaml.policies.sizes import Sizes
from rlmaml.sampling.examples import Sets, SupervisedFamily, check_examples, examples_of
from tests.rlmaml.families.supervised import Lines, random_examples
from tests.rlmaml.scripted import ScriptedEnvironment

SIZES = Sizes(3, 2)


def test_a_family_is_told_from_an_environment_by_what_it_can_do() -> None:
    assert isinstance(Lines(), SupervisedFamily)
    assert not isinstance(ScriptedEnvironment(2, {}), SupervisedFamily)


def test_every_inner_step_sees_the_support_set_and_what_follows_the_query_set() -> None:
    family, streams = Sinusoid(shots=3, queries=4), RandomStreams(0, tasks=range(2))
    tasks = family.sample_tasks(2, [1, 2])
    collect = examples_of(family, tasks, streams, range(2), 2)
    seen = [collect(Adaptation({}), k).data for k in range(3)]
    assert seen[0] is seen[1]
    support, query = family.sets(tasks, streams.example_seeds(range(2)))
    assert torch.equal(seen[0].targets, support.targets)
    assert torch.equal(seen[2].targets, query.targets)


def test_the_examples_of_a_task_do_not_depend_on_which_others_are_at_hand() -> None:
    family = Sinusoid()
    tasks = family.sample_tasks(3, [1, 2, 3])
    last = {name: values[2:] for name, values in tasks.items()}
    together = examples_of(family, tasks, RandomStreams(0), range(3), 1)(Adaptation({}), 0).data
    alone = examples_of(family, last, RandomStreams(0), [2], 1)(Adaptation({}), 0).data
    assert torch.equal(together.targets[2:], alone.targets)


@pytest.mark.parametrize(
    ("field", "wrong", "says"),
    [
        ("observations", torch.zeros(2, 5, 4), r"observations of shape \(2, 5, 4\); \(2, 5, 3\) is needed"),
        ("targets", torch.zeros(2, 5), r"targets of shape \(2, 5\); \(2, 5, 2\) is needed"),
        ("targets", torch.zeros(2, 1, 2), r"targets of shape \(2, 1, 2\)"),  # would broadcast
        ("valid", torch.ones(3, 5) > 0, r"valid of shape \(3, 5\); \(2, 5\) is needed"),
        ("references", torch.zeros(2, 1, 4), r"references of shape \(2, 1, 4\); \(2, 1, 3\) is needed"),
    ],
)
def test_a_set_of_another_shape_than_the_sizes_say_is_refused_by_name(field: str, wrong: Any, says: str) -> None:
    good = random_examples(2)
    check_examples(good, 2, SIZES, "The support set of it")
    with pytest.raises(UserError, match=f"The support set of it has {says}"):
        check_examples(good._replace(**{field: wrong}), 2, SIZES, "The support set of it")


@pytest.mark.parametrize("field", ["observations", "targets"])
def test_a_number_that_is_none_is_refused(field: str) -> None:
    good = random_examples(2)
    planted = getattr(good, field).clone()
    planted[1, 2, 0] = float("nan")
    with pytest.raises(NonFiniteError, match="The query set of it"):
        check_examples(good._replace(**{field: planted}), 2, SIZES, "The query set of it")


def test_a_class_that_there_is_not_is_refused() -> None:
    sizes, good = Sizes(3, 4, discrete=True), random_examples(2)
    classes = torch.tensor([[0, 1, 2, 3, 0], [3, 3, 2, 1, 0]])
    check_examples(good._replace(targets=classes), 2, sizes, "It")
    with pytest.raises(UserError, match="It has targets from 0 to 4; they must be from 0 to 3"):
        check_examples(good._replace(targets=classes + (classes == 3)), 2, sizes, "It")


def test_a_familys_wrong_sets_are_refused_where_they_are_collected() -> None:
    class Wrong(Lines):
        def sets(self, tasks: Any, seeds: Any) -> Sets:
            support, query = super().sets(tasks, seeds)
            return Sets(support, query._replace(targets=query.targets[..., 0]))

    with pytest.raises(UserError, match="The query set of lines has targets of shape"):
        examples_of(Wrong(), Wrong().sample_tasks(4, range(4)), RandomStreams(0), range(4), 1)
