from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from rlmaml.algorithms.meta_algorithm import ReplayError
from rlmaml.algorithms.reptile import ReptileReport
from rlmaml.base.errors import LostUpdateError, NonFiniteError
from rlmaml.base.lost_updates import SEVERAL, LostUpdates, TooManyLostError
from rlmaml.base.random_streams import RandomStreams
from rlmaml.core.ranks import RankError
from rlmaml.core.types import Meta
from rlmaml.settings.methods.registry import METHODS as REGISTERED
from rlmaml.settings.methods.registry import find_method
from rlmaml.settings.whole import Settings, as_method, configure
from rlmaml.training.begin import begin, make_method
from rlmaml.training.train import IterationReport, Learned, MetaLearner, meta_iteration, meta_train
from rlmaml_envs import make_tasks_env
from rlmaml_envs.vector import TaskVectorEnv
from tests.rlmaml.makers import vector
from tests.rlmaml.shapes import shapes_checked
from tests.rlmaml.training.stand_ins import DisturbedRewards, DriftingPolicy, FailingSimulations

pytestmark = pytest.mark.usefixtures("unchecked")

Run = list[tuple[Learned, IterationReport]]

SMALL = configure(iterations=3, num_tasks=4, num_episodes=6, horizon=12, hidden=(8,), cg_iterations=5, threads=1)
LARGE = configure(
    iterations=1,
    num_tasks=20,
    num_episodes=20,
    horizon=100,
    threads=1,
    rollout_threads=1,
    cg_iterations=3,
)
"""Large enough that torch shares the operations of the meta-update among its threads."""


def environment(settings: Settings) -> TaskVectorEnv:
    run = settings.run
    copies, options = (
        run.num_tasks * run.num_episodes,
        {"threads": run.rollout_threads, "observe_task": run.observe_task},
    )
    return make_tasks_env("Navigation2D-v0", copies, run.horizon, variant="finn2017", **options)


def initial(settings: Settings) -> Learned:
    return begin(settings, make_method(settings, environment(settings)))


@cache
def known(settings: Settings) -> Run:
    """A run from the beginning, made once, with its shapes checked, and not to be written to."""
    with shapes_checked(True):
        return run(settings)


def run(settings: Settings, learned: Learned | None = None, start: int = 0) -> Run:
    env = environment(settings)
    method = make_method(settings, env)
    return list(meta_train(env, method, begin(settings, method) if learned is None else learned, settings, start))


def assert_same_learned(ours: Learned, theirs: Learned) -> None:
    for one, other in zip((*ours.meta, ours.state), (*theirs.meta, theirs.state), strict=True):
        assert list(one) == list(other)
        assert all(torch.equal(one[name], other[name]) for name in one)


def assert_same_run(ours: Run, theirs: Run) -> None:
    """Bit for bit: what was learned, tasks, rollouts and reports; only the seconds may differ."""
    assert len(ours) == len(theirs) > 0
    for (learned, report), (other_learned, other) in zip(ours, theirs, strict=True):
        assert_same_learned(learned, other_learned)
        assert report.iteration == other.iteration
        assert report.update == other.update
        assert_same_tasks(report.tasks, other.tasks)
        for sampled, other_sampled in zip(report.rollouts, other.rollouts, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(sampled, other_sampled, strict=True))


def assert_same_tasks(tasks: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    assert tasks.keys() == others.keys()
    for name in tasks:
        np.testing.assert_array_equal(tasks[name], others[name])


VARIANTS: dict[str, Settings] = {
    "maml": SMALL,
    "two steps": SMALL.changed(inner_steps=2, stage_weights=(1.0, 1.0, 2.0), time_limit="bootstrap"),
    "learned step sizes": SMALL.changed(learn_step_sizes=True, inner_loss="dice"),
    "fomaml": as_method(SMALL, "fomaml", "gaussian"),
    "reptile": as_method(SMALL, "reptile", "gaussian"),
    "reptile, serial": as_method(SMALL, "reptile", "gaussian").changed(num_tasks=1),
    "reptile, adam": as_method(SMALL, "reptile", "gaussian").changed(outer_step="adam"),
}
EVERY_VARIANT = pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)


@EVERY_VARIANT
def test_a_run_is_the_same_again_and_from_what_was_learned_in_its_midst(settings: Settings) -> None:
    uninterrupted = known(settings)
    assert_same_run(run(settings), uninterrupted)
    for done in (1, 2):
        learned = uninterrupted[done - 1][0]
        copied = [{name: tensor.clone() for name, tensor in part.items()} for part in (*learned.meta, learned.state)]
        again = Learned(Meta(copied[0], copied[1]), copied[2])
        assert_same_run(run(settings, again, start=done), uninterrupted[done:])


def test_different_seeds_give_different_runs() -> None:
    one, other = known(SMALL), run(SMALL.changed(seed=1))
    for (learned, report), (other_learned, other_report) in zip(one, other, strict=True):
        assert not torch.equal(vector(learned.meta), vector(other_learned.meta))
        assert not (report.tasks["goal"] == other_report.tasks["goal"]).any()
        assert (report.rollouts[0].actions != other_report.rollouts[0].actions).any()


def test_every_iteration_has_its_own_tasks_and_actions() -> None:
    reports = [report for _, report in known(SMALL)]
    assert [report.iteration for report in reports] == [0, 1, 2]
    for report, following in pairwise(reports):
        assert not (report.tasks["goal"] == following.tasks["goal"]).any()
        assert (report.rollouts[0].actions != following.rollouts[0].actions).any()


@pytest.mark.parametrize("name", ["maml", "reptile", "reptile, adam"])
def test_theta_goes_as_far_as_the_report_says(name: str) -> None:
    settings = VARIANTS[name]
    iterations = known(settings)
    thetas = [initial(settings), *(learned for learned, _ in iterations)]
    steps = [float((vector(after.meta) - vector(before.meta)).norm()) for before, after in pairwise(thetas)]
    numbers = [report.update.numbers() for _, report in iterations]
    assert all(each.get("accepted", 1.0) == (each["step_norm"] > 0) for each in numbers)
    assert any(step > 0 for step in steps)
    assert steps == pytest.approx([each["step_norm"] for each in numbers], rel=1e-4)


def test_the_global_generators_play_no_part() -> None:
    settings = SMALL.changed(iterations=1)
    torch.manual_seed(0)
    first = run(settings)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    assert_same_run(run(settings), first)


def test_a_meta_iteration_is_sampling_and_an_update_on_what_was_sampled() -> None:
    env = environment(SMALL)
    method, learned = make_method(SMALL, env), initial(SMALL)
    new, report = meta_iteration(env, method, learned, SMALL, 0)
    assert_same_tasks(report.tasks, env.sample_tasks(4, RandomStreams(SMALL.run.seed).task_seeds(4)))
    assert len(report.rollouts) == len(report.outcomes) == SMALL.inner.inner_steps + 1
    for sampled, seen in zip(report.rollouts, report.outcomes, strict=True):
        assert torch.equal(seen.returns, sampled.returns)
        assert seen.mean_return == float(sampled.returns.mean())
    assert report.reward_terms == env.reward_terms
    assert 0 < report.update.numbers()["kl"] <= SMALL.outer.max_kl
    assert not torch.equal(vector(new.meta), vector(learned.meta))
    parts = {"iteration", "rollout", "environment", "advantages", "adapt", "gradient", "curvature", "line_search"}
    assert report.seconds.keys() == parts
    inside = sum(report.seconds[part] for part in parts - {"iteration", "environment"})
    assert inside <= report.seconds["iteration"]


@pytest.mark.parametrize(("sample_last_stage", "stages"), [(False, 2), (True, 3)])
def test_reptile_samples_the_last_stage_only_where_it_is_asked_to_and_the_update_is_the_same(
    sample_last_stage: bool, stages: int
) -> None:
    settings = VARIANTS["reptile"].changed(inner_steps=2)
    env = environment(settings)
    given = settings.changed(sample_last_stage=sample_last_stage)
    method = make_method(given, env)
    new, report = meta_iteration(env, method, begin(given, method), given, 0)
    assert len(report.rollouts) == len(report.outcomes) == stages
    assert not torch.equal(report.rollouts[0].actions, report.rollouts[1].actions)
    assert isinstance(report.update, ReptileReport)
    assert report.update.step_norm == pytest.approx(0.1 * report.update.distance, rel=1e-4)
    plain = make_method(settings, env)
    assert_same_learned(new, meta_iteration(env, plain, begin(settings, plain), settings, 0)[0])
    assert report.seconds.keys() >= {"adapt_again", "outer_step"}


def test_options_that_say_the_same_as_a_method_s_name_are_the_very_settings_it_sets() -> None:
    second = SMALL.changed(iterations=2, inner_steps=2, learn_step_sizes=True)
    named, said = as_method(second, "fomaml", "gaussian"), second.changed(first_order=True)
    assert (named.run, named.inner, named.outer, named.network) == (said.run, said.inner, said.outer, said.network)
    first_order = run(named)
    assert_same_run(first_order, run(said))
    assert not torch.equal(vector(first_order[0][0].meta), vector(run(second)[0][0].meta))


def test_the_number_of_threads_changes_no_bit() -> None:
    one = run(LARGE.changed(hidden=(64, 32)))
    assert_same_run(run(LARGE.changed(hidden=(64, 32), threads=2, rollout_threads=2)), one)
    assert one[0][1].update.numbers()["accepted"]


def test_the_number_of_threads_changes_no_bit_at_odd_sizes() -> None:
    settings = LARGE.changed(num_tasks=3, num_episodes=7, hidden=(50, 50), inner_loss="dice")
    one = run(settings)
    for threads in (2, 7):
        assert_same_run(run(settings.changed(threads=threads)), one)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(VARIANTS))
def test_the_number_of_threads_changes_no_bit_of_a_longer_run(name: str) -> None:
    settings = VARIANTS[name].changed(iterations=3, num_tasks=20, num_episodes=20, horizon=100, hidden=(128, 96))
    assert_same_run(run(settings.changed(threads=2, rollout_threads=2)), run(settings))


def test_the_update_draws_no_random_numbers() -> None:
    env, method, learned = environment(SMALL), make_method(SMALL, environment(SMALL)), initial(SMALL)
    seeds: list[int] = []

    class Reseeded:
        """The same update, in an iteration whose random streams are other ones."""

        reads_last_stage = True

        def init(self, meta: Meta) -> dict[str, torch.Tensor]:
            return method.algorithm.init(meta)

        def update(self, learner: Any, meta: Meta, state: Any, stages: Any) -> Any:
            seeds.append(learner.streams.seed)
            return method.algorithm.update(learner._replace(streams=RandomStreams(9, iteration=5)), meta, state, stages)

    one = meta_iteration(env, method, learned, SMALL, 0)[0]
    assert_same_learned(meta_iteration(env, method._replace(algorithm=Reseeded()), learned, SMALL, 0)[0], one)
    assert seeds == [SMALL.run.seed]


@EVERY_VARIANT
def test_the_replayed_policies_are_those_that_sampled_to_rounding(settings: Settings) -> None:
    assert all(report.update.replay_gap < 1e-5 for _, report in known(settings))


def test_a_policy_that_replays_otherwise_than_it_acts_is_refused() -> None:
    env = environment(SMALL)
    method = make_method(SMALL, env)
    learned = begin(SMALL, method)
    with pytest.raises(ReplayError, match=r"are not those that sampled.*differ by up to 0\.\d+ nats"):
        meta_iteration(env, method._replace(policy=DriftingPolicy(method.policy, 0.1)), learned, SMALL, 0)
    drifting = method._replace(policy=DriftingPolicy(method.policy, 0.001))
    # δ Σ (a − μ) over two dimensions of standard deviation 1, and the largest of hundreds of steps
    assert 0.001 < meta_iteration(env, drifting, learned, SMALL, 0)[1].update.replay_gap < 0.01


ODD = configure(num_tasks=3, num_episodes=3, iterations=2, horizon=5, hidden=(6,), threads=1)
FAILING_TASK = {0: 1, 1: 4, 2: 2}
"""Every simulation of the first of three tasks fails, each in some step."""
FAILING_SOME = {3: 2, 7: 4}
METHODS = pytest.mark.parametrize("algorithm", ["maml-trpo", "fomaml", "reptile"])


def unsound(settings: Settings, *fails: Mapping[int, int]) -> tuple[FailingSimulations, MetaLearner]:
    """An environment in which simulations fail, by stage, copy and step, and a method."""
    env = environment(settings)
    return FailingSimulations(env, *fails), make_method(settings, env)


class WithoutTheFirst:
    """An algorithm that is handed the data of all tasks but the first."""

    reads_last_stage = True

    def __init__(self, algorithm: Any) -> None:
        self.algorithm = algorithm

    def init(self, meta: Meta) -> Any:
        return self.algorithm.init(meta)

    def update(self, learner: Any, meta: Meta, state: Any, stages: Any) -> Any:
        others = [type(batch)(*(field[1:] for field in batch)) for batch in stages]
        return self.algorithm.update(learner, meta, state, others)


@METHODS
@pytest.mark.parametrize("stage", [0, 1])
def test_a_task_all_of_whose_simulations_of_a_stage_fail_leaves_the_update_to_the_others(
    algorithm: str, stage: int
) -> None:
    settings = as_method(ODD, algorithm, "gaussian")
    fails = [FAILING_SOME, FAILING_SOME]
    fails[stage] = fails[stage] | FAILING_TASK
    if algorithm == "reptile":
        settings = settings.changed(inner_steps=2)
    env, method = unsound(settings, *fails)
    start = begin(settings, method)
    new, report = meta_iteration(env, method, start, settings, 0)
    assert report.update.tasks_left_out == 1
    assert all(np.isfinite(value) for value in report.update.numbers().values())
    assert report.update.numbers()["step_norm"] > 0
    assert [seen.unstable.sum(1).tolist() for seen in report.outcomes] == [
        [3 if k == stage else 0, 1, 1] for k in range(2)
    ]
    assert vector(new.meta).isfinite().all()
    assert not torch.equal(vector(new.meta), vector(start.meta))
    alone = method._replace(algorithm=WithoutTheFirst(method.algorithm))
    others, of_others = meta_iteration(unsound(settings, *fails)[0], alone, start, settings, 0)
    assert of_others.update.tasks_left_out == 0
    torch.testing.assert_close(vector(new.meta), vector(others.meta), rtol=1e-6, atol=1e-7)


@METHODS
def test_failed_episodes_of_a_task_count_for_nothing_but_the_others_do(algorithm: str) -> None:
    settings = as_method(ODD, algorithm, "gaussian")
    env, method = unsound(settings, FAILING_SOME)
    for learned, report in meta_train(env, method, begin(settings, method), settings):
        assert report.update.tasks_left_out == 0
        assert report.update.numbers()["step_norm"] > 0
        assert vector(learned.meta).isfinite().all()
        for sampled, seen in zip(report.rollouts, report.outcomes, strict=True):
            assert not sampled.valid[1, 0].any()
            assert not sampled.valid[2, 1].any()
            assert sampled.valid.any(-1)[~sampled.unstable].all()
            assert seen.returns.isnan().nonzero().tolist() == [[1, 0], [2, 1]]
            assert seen.mean_return == pytest.approx(float(sampled.returns[~sampled.unstable].mean()))


@METHODS
def test_where_every_simulation_fails_nothing_changes_and_the_run_goes_on(algorithm: str) -> None:
    settings = as_method(ODD, algorithm, "gaussian")
    env, method = unsound(settings, dict.fromkeys(range(9), 3))
    start = begin(settings, method)
    iterations = list(meta_train(env, method, start, settings))
    assert len(iterations) == settings.run.iterations
    for learned, report in iterations:
        assert_same_learned(learned, start)
        assert report.update.tasks_left_out == 3
        assert all(np.isfinite(value) for value in report.update.numbers().values())
        assert all(np.isnan(seen.mean_return) and seen.share_unstable == 1.0 for seen in report.outcomes)


def poisoned(*moments: int, settings: Settings = ODD) -> tuple[DisturbedRewards, MetaLearner]:
    """An environment whose rewards are NaN in these steps, counted over all episodes, and a method."""
    env = environment(settings)
    return DisturbedRewards(env, lambda steps: np.nan if steps in moments else 0.0), make_method(settings, env)


def test_a_reward_that_is_nan_ends_the_iteration() -> None:
    env, method = poisoned(3)
    with pytest.raises(NonFiniteError, match="The reward in a rollout"):
        meta_iteration(env, method, begin(ODD, method), ODD, 0)


def every_method() -> list[str]:
    return [name for name in REGISTERED if name != "random"]


def of_method(algorithm: str, **options: Any) -> Settings:
    return as_method(ODD, algorithm, find_method(algorithm).policy or "gaussian").changed(**options)


@pytest.mark.parametrize("algorithm", every_method())
def test_a_lost_update_of_any_method_leaves_what_was_learned_and_the_next_goes_on_from_there(algorithm: str) -> None:
    settings = of_method(algorithm)
    env, method = poisoned(3, settings=settings)
    start = begin(settings, method)
    with pytest.warns(
        UserWarning, match="In meta-iteration 0 the meta-update was lost. The reward in a rollout"
    ) as said:
        (lost, told), (after, then) = meta_train(env, method, start, settings)
    assert len(said) == 1
    assert_same_learned(lost, start)
    assert told.lost == lost.lost == LostUpdates(1, 1)
    assert all(np.isnan(seen.mean_return) for seen in told.outcomes)
    expected, report = meta_iteration(environment(settings), method, start, settings, 1)
    assert_same_learned(after, expected)
    assert then.lost == after.lost == LostUpdates(1, 0)
    assert [seen.mean_return for seen in then.outcomes] == [seen.mean_return for seen in report.outcomes]
    assert len(told.outcomes) == len(then.outcomes)
    assert told.outcomes[0].term_returns.shape == then.outcomes[0].term_returns.shape
    assert [*told.tasks] == [*then.tasks]


def test_after_as_many_lost_updates_in_a_row_as_may_be_the_training_stops() -> None:
    settings = ODD.changed(iterations=9, patience=3)
    # the first is lost in its first step, the second is not in its ten; the next three are lost in their first
    env, method = poisoned(1, 12, 13, 14, settings=settings)
    seen: list[LostUpdates] = []
    said = r"3 meta-updates in a row were lost \(--patience\). The reward in a"
    with pytest.warns(UserWarning, match="meta-update was lost"), pytest.raises(TooManyLostError, match=said):
        seen.extend(learned.lost for learned, _ in meta_train(env, method, begin(settings, method), settings))
    assert seen == [LostUpdates(1, 1), LostUpdates(1, 0), LostUpdates(2, 1), LostUpdates(3, 2)]


def test_updates_that_change_nothing_are_lost_and_several_in_a_row_are_said() -> None:
    settings = ODD.changed(iterations=SEVERAL + 2, patience=SEVERAL + 2, max_kl=1e-30)
    env = environment(settings)
    method = make_method(settings, env)
    start, seen = begin(settings, method), list[tuple[Learned, IterationReport]]()
    several = rf"the last {SEVERAL} meta-updates were lost. .* the line search found"
    with (
        pytest.warns(UserWarning, match=several) as said,
        pytest.raises(TooManyLostError, match="7 meta-"),
    ):
        seen.extend(meta_train(env, method, start, settings))
    assert [learned.lost.in_a_row for learned, _ in seen] == [*range(1, SEVERAL + 2)]
    assert not any(report.update.numbers()["accepted"] for _, report in seen)
    assert_same_learned(seen[-1][0], start)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"inner_step_sizes": (1e6,)}, "Inner step 1 exploded: .* times 1"),
        ({"inner_step_sizes": (1e38,), "inner_steps": 2}, r"Inner step \d exploded|became NaN or infinite"),
    ],
)
def test_inner_steps_that_explode_lose_the_update(options: dict[str, Any], why: str) -> None:
    settings = ODD.changed(**options)
    env = environment(settings)
    method = make_method(settings, env)
    with pytest.raises(LostUpdateError, match=why):
        meta_iteration(env, method, begin(settings, method), settings, 0)


class Company:
    """Another process of the same run that is well, and hears whether this one is."""

    leads = True

    def __init__(self, well: bool = True) -> None:
        self.heard: list[bool] = []
        self.well = well

    def own(self, num_tasks: int, blocks: int | None = None) -> range:
        return range(num_tasks)

    def gather(self, per_task: Any) -> list[torch.Tensor]:
        if not self.agree(ok=True):
            raise RankError("Another process failed.")
        return list(per_task)

    def agree(self, ok: bool) -> bool:
        self.heard.append(ok)
        return ok and self.well


def test_a_process_that_fails_says_so_to_the_others_once() -> None:
    settings = ODD.changed(patience=1)
    (env, method), company = poisoned(3, settings=settings), Company()
    with pytest.raises(TooManyLostError, match="a meta-update was lost"):
        list(meta_train(env, method._replace(sums=company), begin(settings, method), settings))
    assert company.heard == [False, True]  # it is well, but for this update


def test_a_process_that_fails_for_another_reason_says_that_it_is_not_well_either() -> None:
    def fail(steps: int) -> float:
        raise RuntimeError("out of order")

    env, company = environment(ODD), Company()
    method = make_method(ODD, env)._replace(sums=company)
    with pytest.raises(RuntimeError, match="out of order"):
        list(meta_train(DisturbedRewards(env, fail), method, begin(ODD, method), ODD))
    assert company.heard == [False, False]


def test_a_process_that_hears_of_another_s_failure_does_not_answer_again() -> None:
    (env, method), company = unsound(ODD, {}), Company(well=False)
    with pytest.raises(RankError):
        list(meta_train(env, method._replace(sums=company), begin(ODD, method), ODD))
    assert company.heard == [True, True]  # to the collective, and to whether an update was lost, or more
