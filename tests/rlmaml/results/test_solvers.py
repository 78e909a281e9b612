from typing import Any
from unittest.mock import Mock

import pytest

from rlmaml.algorithms.maml_trpo import MamlTrpo
from rlmaml.algorithms.meta_algorithm import Learner
from rlmaml.base.errors import UserError
from rlmaml.base.random_streams import RandomStreams
from rlmaml.policies.sizes import sizes_of
from rlmaml.results.solvers import Outcome, Solver, compare_solvers, solver_table, two_samples
from rlmaml.settings.whole import Settings, configure
from rlmaml.storage.checkpoint import Checkpoint
from rlmaml.training.begin import begin, make_method
from rlmaml_envs import make_tasks_env

SETTINGS = configure(
    num_tasks=3, num_episodes=4, horizon=8, hidden=(6,), threads=1, inner_steps=2, inner_loss="likelihood_ratio"
)
SOLVERS = (
    Solver(1.0, 1.0, "kronecker", 4, 0.01),
    Solver(0.0, 0.5, "none", 1, 0.1),
)


def make_env(num_envs: int) -> Any:
    return make_tasks_env("Navigation2D-v0", num_envs, SETTINGS.run.horizon)


def checkpoint(settings: Settings = SETTINGS) -> Checkpoint:
    env = make_env(settings.run.num_tasks * settings.run.num_episodes)
    meta = begin(settings, make_method(settings, env)).meta
    return Checkpoint(meta, 0, settings, sizes_of(env))


def compared(solvers: tuple[Solver, ...] = SOLVERS, draws: int = 2) -> list[Outcome]:
    return list(compare_solvers(checkpoint(), make_env, draws=draws, solvers=solvers))


def test_a_solvers_gain_is_that_of_an_update_with_its_settings() -> None:
    for solver, outcome in zip(SOLVERS, compared(draws=1), strict=True):
        settings = SETTINGS.changed(**solver._asdict())
        env = make_env(12)
        method = make_method(settings, env)
        stages, others, _ = two_samples(env, method, checkpoint().meta, settings, 0)
        learner = Learner(method.policy, method.rule, method.sums, RandomStreams(0))
        algorithm = method.algorithm
        assert isinstance(algorithm, MamlTrpo)
        new, _, report = algorithm.update(learner, checkpoint().meta, {}, stages)
        assert outcome.solver == solver
        assert outcome.gain == report.loss_before - report.loss_after > 0
        assert outcome.gain == pytest.approx(
            algorithm.surrogate_gain(learner, checkpoint().meta, new, stages), abs=1e-6
        )
        assert outcome.held_out_gain == algorithm.surrogate_gain(learner, checkpoint().meta, new, others)
        assert outcome.held_out_gain != outcome.gain


@pytest.mark.slow
def test_all_solvers_see_the_same_episodes_and_none_moves_the_next_ones() -> None:
    forwards, backwards = compared(), compared(SOLVERS[::-1])[::-1]
    assert [(one.gain, one.held_out_gain) for one in forwards] == [(one.gain, one.held_out_gain) for one in backwards]
    assert forwards[0].gain != forwards[1].gain


def test_a_meta_iterations_seconds_hold_those_of_its_curvature_and_of_its_rollouts() -> None:
    for outcome in compared(draws=1):
        assert 0 < outcome.seconds < outcome.iteration_seconds


def test_the_other_episodes_are_new_ones_on_the_same_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make_env(12)
    method = make_method(SETTINGS, env)
    tasks_set = Mock(side_effect=env.set_tasks)
    monkeypatch.setattr(env, "set_tasks", tasks_set)
    first, second, seconds = two_samples(env, method, checkpoint().meta, SETTINGS, 0)
    assert tasks_set.call_count == 1
    assert len(first) == len(second) == 3
    assert not (first[0].actions == second[0].actions).all()
    assert seconds["rollout"] > 0


def test_a_run_whose_update_solves_no_system_is_refused() -> None:
    with pytest.raises(UserError, match="--algorithm is reptile"):
        next(compare_solvers(checkpoint(configure("reptile", horizon=8, hidden=(6,))), make_env, draws=1))


def test_more_draws_than_fit_into_memory_are_refused_before_an_environment_is_made() -> None:
    with pytest.raises(UserError, match="draws of tasks and episodes would need"):
        next(compare_solvers(checkpoint(), Mock(side_effect=AssertionError), draws=10**12))


def test_the_table_shows_thousandths_and_marks_the_best_by_gain_on_other_episodes_per_second() -> None:
    slow, quick = Outcome(SOLVERS[0], 0.02, 0.012, 0.5, 2.0), Outcome(SOLVERS[1], 0.03, 0.01, 0.25, 1.0)
    rows = solver_table([slow, quick]).splitlines()
    assert rows[2] == "| 1 | 1 | kronecker | 4 | 0.01 | 20.0 | 12.0 | 0.50 | 6.0 |"
    assert rows[3] == "| 0 | 0.5 | none | 1 | 0.1 | 30.0 | 10.0 | 0.25 | **10.0** |"
