import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.core.parameters import entries
from rlmaml.rules.gradient_rule import gradient_rule
from rlmaml.settings.whole import configure
from tests.rlmaml.algorithms.cases import CASES, make_problem


def test_the_method_is_what_its_option_says_bit_for_bit() -> None:
    problem = make_problem("fomaml")
    options = {"inner_step_sizes": (0.5, 0.3), **CASES["fomaml"].options}
    by_option = configure("maml-trpo", first_order=True, **options)
    assert (by_option.inner, by_option.outer) == (problem.settings.inner, problem.settings.outer)
    learner = problem.learner._replace(rule=gradient_rule(by_option.inner, problem.learner.policy))
    ours, theirs = problem.update(), problem._replace(learner=learner).update()
    assert all(torch.equal(*pair) for pair in zip(entries(ours.meta), entries(theirs.meta), strict=True))
    assert ours.report == theirs.report


def test_without_its_option_it_would_be_maml_and_so_is_refused() -> None:
    problem = make_problem("fomaml")
    with pytest.raises(UserError, match="--first-order is False, but --algorithm fomaml stands for True"):
        problem.settings.changed(first_order=False)
    whole = configure("maml-trpo", **{"inner_step_sizes": (0.5, 0.3), **CASES["fomaml"].options})
    learner = problem.learner._replace(rule=gradient_rule(whole.inner, problem.learner.policy))
    ours, theirs = problem.update(), problem._replace(learner=learner).update()
    steps = [
        torch.cat([(a - b).reshape(-1) for a, b in zip(entries(u.meta), entries(problem.meta), strict=True)])
        for u in (ours, theirs)
    ]
    assert float((steps[0] - steps[1]).norm()) > 0.1 * float(steps[1].norm())
