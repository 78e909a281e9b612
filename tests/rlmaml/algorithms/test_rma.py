"""RMA: either Adam moves its own weights, and the student comes to say what the teacher says."""

import pytest
import torch

from rlmaml.algorithms.rma import GUESSING, TEACHING, moments_of
from rlmaml.base.errors import UserError
from rlmaml.core.policy import TaughtPolicy
from rlmaml.settings.whole import configure
from tests.rlmaml.algorithms.cases import Problem, make_problem


@pytest.fixture(scope="module")
def problem() -> Problem:
    return make_problem("rma")


def test_who_is_told_stays_and_all_other_weights_move(problem: Problem) -> None:
    policy = problem.learner.policy
    assert isinstance(policy, TaughtPolicy)
    updated = problem.update()
    moved = {name for name, tensor in updated.meta.params.items() if not torch.equal(tensor, problem.meta.params[name])}
    assert moved == set(problem.meta.params) - {policy.told, *policy.context, *policy.bounds}


def test_without_the_students_epochs_its_weights_stay_and_without_the_teachers_those_that_teach(
    problem: Problem,
) -> None:
    policy = problem.learner.policy
    assert isinstance(policy, TaughtPolicy)
    own = set(policy.guessing(problem.meta.params))
    for step, stays in (("student_step_size", own), ("outer_step_size", set(problem.meta.params) - own)):
        algorithm = problem.settings.changed(**{step: 1e-30})
        changed = problem._replace(
            algorithm=type(problem.algorithm)(algorithm.outer, algorithm.advantages)  # type: ignore[call-arg]
        ).update()
        same = {n for n, tensor in changed.meta.params.items() if torch.equal(tensor, problem.meta.params[n])}
        assert stays <= same


def test_the_student_comes_to_say_what_the_teacher_says(problem: Problem) -> None:
    # The error falls to 0.23 of what it was in 60 epochs from these weights, and further in twice as many.
    settings = problem.settings.changed(student_epochs=120, student_step_size=0.02, outer_step_size=1e-30)
    algorithm = type(problem.algorithm)(settings.outer, settings.advantages)  # type: ignore[call-arg]
    numbers = problem._replace(algorithm=algorithm).update().report.numbers()
    assert numbers["latent_error_after"] < 0.2 * numbers["latent_error_before"]


def test_the_teacher_learns_from_its_own_episodes_and_the_student_from_its_own(problem: Problem) -> None:
    policy = problem.learner.policy
    assert isinstance(policy, TaughtPolicy)
    still = problem.settings.changed(outer_step_size=1e-30)
    held = problem._replace(algorithm=type(problem.algorithm)(still.outer, still.advantages))  # type: ignore[call-arg]

    def moved_by(problem: Problem, stage: int, **fields: torch.Tensor) -> set[str]:
        stages = [batch._replace(**fields) if k == stage else batch for k, batch in enumerate(problem.stages)]
        before, after = (one.update().meta.params for one in (problem, problem._replace(stages=stages)))
        return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}

    of_teacher, *of_student = problem.stages
    assert moved_by(problem, 0, rewards=of_teacher.rewards.flip(0)) >= set(policy.teaching(problem.meta.params))
    assert not moved_by(held, 0, rewards=of_teacher.rewards.flip(0))
    for stage, batch in enumerate(of_student, start=1):
        told_otherwise = batch.observations + torch.tensor(
            [0.0, 0.0, 1.0]
        )  # the task, of which the student sees nothing
        assert moved_by(problem, stage, observations=told_otherwise) == set(policy.guessing(problem.meta.params))


def test_moments_are_kept_apart(problem: Problem) -> None:
    names = [name for name in problem.meta.params if name.startswith("student")]
    assert {name.split("/", 1)[-1] for name in moments_of(problem.state, GUESSING, names)} == {"step", *names}
    taught, guessed = (problem.state[f"{prefix}exp_avg/student.layer0.weight"] for prefix in (TEACHING, GUESSING))
    assert not taught.any()
    assert guessed.any()


def test_it_needs_a_policy_with_a_teacher() -> None:
    with pytest.raises(UserError, match="needs --policy latent"):
        configure("rma", policy="gru", value_head=True)
