"""What holds for every algorithm. A test class inherits it and parameterises it by the name of a case."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rlmaml.algorithms.meta_algorithm import REPLAY_TOLERANCE, ReplayError, check_replay, replay
from rlmaml.algorithms.registry import make_meta_algorithm
from rlmaml.base.errors import LostUpdateError, NonFiniteError
from rlmaml.base.threads import torch_threads
from rlmaml.core.parameters import entries, repeated
from rlmaml.core.types import Batch, Params
from rlmaml.policies.sizes import Sizes
from rlmaml.settings.inner import InnerSettings
from rlmaml.storage.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from rlmaml.training.guard import check_update, nothing_learned
from tests.rlmaml.algorithms.cases import CASES, Problem, Updated, make_large_problem, make_problem, tensors_of
from tests.rlmaml.algorithms.task_threads import one_thread_per_task
from tests.rlmaml.algorithms.two_ranks import PROBLEMS, SOLVED, as_plain, key
from tests.rlmaml.makers import assert_same, padded_batch, with_both
from tests.rlmaml.shapes import shapes_checked
from tests.rlmaml.two_ranks import Ranks


@pytest.fixture(scope="module")
def solved() -> dict[str, tuple[Problem, Updated]]:
    """Problems and their updates, made once."""
    return {}


def assert_close(ours: Updated, theirs: Updated, before: Problem, rtol: float = 1e-9) -> None:
    """The steps agree to rounding, relative to their length, and so do states and reports; and they are steps."""
    start = tensors_of(before.meta, {})
    steps = [
        torch.cat([(a - b).reshape(-1) for a, b in zip(entries(u.meta), start, strict=True)]) for u in (ours, theirs)
    ]
    assert float(steps[1].norm()) > 1e-3
    assert float((steps[0] - steps[1]).norm()) <= rtol * float(steps[1].norm())
    assert list(ours.state) == list(theirs.state)
    for name, tensor in theirs.state.items():
        assert_same(ours.state[name], tensor, rtol=rtol)
    numbers, others = ours.report.numbers(), theirs.report.numbers()
    assert numbers.keys() == others.keys()
    assert numbers == pytest.approx(others, rel=rtol, abs=1e-11)


def assert_same_bits(ours: Updated, theirs: Updated) -> None:
    assert_equal(as_plain(ours), as_plain(theirs))


def assert_equal(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    for part in ("params", "rates", "state"):
        assert list(ours[part]) == list(theirs[part])
        for name, tensor in theirs[part].items():
            assert torch.equal(ours[part][name], tensor), f"{part} {name}"
            assert ours[part][name].dtype == tensor.dtype
    assert ours["report"] == theirs["report"]


def without_steps(batch: Batch, task: Any) -> Batch:
    """The same batch where every simulation of a task failed."""
    valid = batch.valid.clone()
    valid[task] = False
    return batch._replace(valid=valid)


def changed(problem: Problem, stage: int, batch: Batch) -> Problem:
    stages = list(problem.stages)
    stages[stage] = batch
    return problem._replace(stages=stages)


def copied(problem: Problem) -> list[Tensor]:
    return [tensor.clone() for tensor in given(problem)]


def given(problem: Problem) -> list[Tensor]:
    """Every tensor that an update is given."""
    return [*tensors_of(problem.meta, problem.state), *(field for batch in problem.stages for field in batch)]


class AlgorithmContract:
    @pytest.fixture
    def problem(self, name: str, solved: dict[str, tuple[Problem, Updated]]) -> Problem:
        return self.solve(name, solved)[0]

    @pytest.fixture
    def updated(self, name: str, solved: dict[str, tuple[Problem, Updated]]) -> Updated:
        return self.solve(name, solved)[1]

    @staticmethod
    def solve(name: str, solved: dict[str, tuple[Problem, Updated]]) -> tuple[Problem, Updated]:
        if name not in solved:
            with shapes_checked(False):  # the test that asks for checks updates once more
                problem = make_problem(name)
                solved[name] = problem, problem.update()
        return solved[name]

    def test_an_update_moves_the_meta_parameters_and_reports_finite_numbers(
        self, checked: None, problem: Problem
    ) -> None:
        updated = problem.update()
        assert not torch.equal(*(torch.cat([t.reshape(-1) for t in entries(m)]) for m in (problem.meta, updated.meta)))
        for part, before in zip(updated.meta, problem.meta, strict=True):
            assert list(part) == list(before)
            for name, tensor in part.items():
                assert (tensor.shape, tensor.dtype) == (before[name].shape, before[name].dtype)
                assert not tensor.requires_grad
        numbers = updated.report.numbers()
        assert all(np.isfinite(number) for number in numbers.values())
        assert {"replay_gap", "tasks_left_out"} <= numbers.keys()
        assert numbers["tasks_left_out"] == updated.report.tasks_left_out == 0

    def test_permuting_tasks_permutes_what_is_per_task_and_leaves_the_update(
        self, problem: Problem, updated: Updated
    ) -> None:
        order = [2, 0, 3, 1]
        permuted = problem.of_tasks(order)
        assert_close(permuted.update(), updated, problem)
        ours, theirs = (self.adapted(each) for each in (permuted, problem))
        for name, tensor in theirs.items():
            assert_same(ours[name], tensor[order])

    @staticmethod
    def adapted(problem: Problem) -> Params:
        points = repeated(problem.meta, len(problem.stages[0].valid))
        stages = problem.stages[: problem.learner.rule.steps]
        adapted = replay(problem.learner, points, stages, create_graph=False).adaptations[-1]
        return adapted.params if adapted.memory is None else adapted.memory._asdict()

    def test_padding_changes_nothing(self, problem: Problem, updated: Updated) -> None:
        padded = problem._replace(stages=[padded_batch(batch) for batch in problem.stages])
        assert_close(padded.update(), updated, problem)

    def test_the_update_of_all_tasks_at_once_is_that_of_a_loop_over_tasks(
        self, problem: Problem, updated: Updated
    ) -> None:
        looped = one_thread_per_task(4, lambda task, sums: problem.of_tasks([task], sums).update())
        for alone in looped:
            assert_close(alone, updated, problem)

    @pytest.mark.parametrize("sizes", PROBLEMS)
    def test_two_processes_find_what_one_does_bit_for_bit(self, ranks: Ranks, name: str, sizes: str) -> None:
        if (name, sizes) not in SOLVED:
            pytest.skip("another case runs the same operations")
        alone = as_plain(make_problem(name, **PROBLEMS[sizes]).update())
        for rank in ranks.found:
            assert_equal(rank[key(name, sizes)], alone)

    def test_the_number_of_threads_changes_no_bit(self, name: str) -> None:
        if CASES[name].large is None:
            pytest.skip("another case runs the same operations")
        problem = make_large_problem(name)
        one = problem.update()
        for threads in (2, 3):
            with torch_threads(threads):
                assert_same_bits(problem.update(), one)
        assert not all(torch.equal(*pair) for pair in zip(entries(one.meta), entries(problem.meta), strict=True))

    def test_an_interrupted_and_resumed_run_is_the_uninterrupted_one_bit_for_bit(
        self, problem: Problem, updated: Updated, tmp_path: Path
    ) -> None:
        path = tmp_path / "checkpoint"
        save_checkpoint(path, Checkpoint(updated.meta, 1, problem.settings, Sizes(3, 2), updated.state))
        loaded = load_checkpoint(path)
        assert_same_bits(updated._replace(meta=loaded.meta, state=loaded.state), updated)
        assert loaded.settings == problem.settings
        straight = problem.at(updated.meta, updated.state, 4, seed=40)
        resumed = problem.at(loaded.meta, loaded.state, 4, seed=40)
        ours, theirs = resumed._replace(algorithm=make_meta_algorithm(loaded.settings)).update(), straight.update()
        assert_same_bits(ours, theirs)
        assert not torch.equal(entries(theirs.meta)[0], entries(updated.meta)[0])

    def test_nothing_that_is_given_is_written_to(self, problem: Problem) -> None:
        before = copied(problem)
        problem.update()
        for tensor, copy in zip(given(problem), before, strict=True):
            assert torch.equal(tensor, copy)
            assert not tensor.requires_grad
            assert tensor.grad is None

    def test_there_is_no_hidden_randomness(self, problem: Problem, updated: Updated) -> None:
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
        assert_same_bits(problem.update(), updated)
        assert torch.equal(torch.get_rng_state(), torch_state)
        assert str(np.random.get_state()) == str(numpy_state)  # noqa: NPY002

    def test_the_policies_that_sampled_are_the_ones_it_replays(self, updated: Updated) -> None:
        assert 0 <= updated.report.replay_gap < 1e-6
        check_replay(updated.report)

    @pytest.mark.parametrize("stage", [0, -1])
    def test_the_replay_gap_is_a_planted_difference_and_refused_above_the_tolerance(
        self, problem: Problem, stage: int
    ) -> None:
        batch, difference = problem.stages[stage], 30 * REPLAY_TOLERANCE
        log_probs = batch.log_probs.masked_fill(~batch.valid, 77.0)
        log_probs[1, 0, 2] -= difference
        report = changed(problem, stage, batch._replace(log_probs=log_probs)).update().report
        if stage == -1:
            assert report.replay_gap == pytest.approx(difference, rel=1e-9)
        assert report.replay_gap >= difference * (1 - 1e-9)  # an inner loss that reads them changes later stages too
        with pytest.raises(ReplayError, match="not those that sampled"):
            check_replay(report)

    def test_a_task_without_a_valid_step_in_some_stage_leaves_the_update_whole(self, problem: Problem) -> None:
        remaining = problem.of_tasks([0, 1, 3]).update()
        for stage, batch in enumerate(problem.stages):
            gone = without_steps(batch, 2)
            left = changed(problem, stage, with_both(gone, torch.masked_fill, ~gone.valid, 1e6)).update()
            assert left.report.tasks_left_out == 1
            counted = left.report._replace(tasks_left_out=0, replay_gap=remaining.report.replay_gap)  # type: ignore[attr-defined]
            assert_close(left._replace(report=counted), remaining, problem, rtol=1e-12)

    def test_without_a_usable_task_everything_stays_as_it_is(self, problem: Problem) -> None:
        batch = without_steps(problem.stages[0], [0, 1, 2])
        stages = [batch, *problem.stages[1:]]
        stages[-1] = without_steps(stages[-1], [3])
        left = problem._replace(stages=stages).update()
        assert left.meta is problem.meta
        assert all(left.state[name] is tensor for name, tensor in problem.state.items())
        assert left.report.tasks_left_out == 4
        assert all(np.isfinite(number) for number in left.report.numbers().values())
        check_replay(left.report)

    def test_inner_steps_read_their_own_advantages_and_what_is_maximised_the_others(self, problem: Problem) -> None:
        first, last = problem.stages[0], problem.stages[-1]
        settings = problem.settings
        inner = settings.inner
        if not (
            isinstance(inner, InnerSettings) and inner.inner_steps and make_meta_algorithm(settings).reads_last_stage
        ):
            pytest.skip("every stage is one of an inner step, or none is")
        before = problem.update().meta
        nothing = changed(problem, -1, last._replace(inner_advantages=last.inner_advantages + 3.0)).update().meta
        assert all(torch.equal(*pair) for pair in zip(entries(before), entries(nothing), strict=True))
        moved = changed(problem, 0, first._replace(inner_advantages=-first.inner_advantages)).update().meta
        assert not all(torch.equal(*pair) for pair in zip(entries(before), entries(moved), strict=True))

    def test_rewards_and_advantages_that_are_not_a_number_are_refused(self, problem: Problem) -> None:
        batch = problem.stages[0]
        planted = {name: getattr(batch, name).clone() for name in ("rewards", "advantages", "inner_advantages")}
        for values in planted.values():
            values[1, 0, 0] = float("nan")
        with pytest.raises(NonFiniteError, match="became NaN or infinite"):
            changed(problem, 0, batch._replace(**planted)).update()

    def test_an_update_whose_squares_overflow_is_refused_or_has_finite_numbers_and_moves(
        self, problem: Problem
    ) -> None:
        problem = problem.in_single_precision()
        last = problem.stages[-1]
        for size in (1e15, 10**19.5, 1e20, 1e30):
            large = with_both(last._replace(rewards=size * last.rewards), torch.mul, size)
            try:
                meta, state, report = changed(problem, -1, large).update()
                check_update(problem.learner.policy, meta, state, report)
            except LostUpdateError:
                continue
            assert all(np.isfinite(number) for number in report.numbers().values())
            moved = [not torch.equal(*pair) for pair in zip(entries(meta), entries(problem.meta), strict=True)]
            assert any(moved) or nothing_learned(report, 4)

    def test_the_algorithm_is_a_value_and_begins_anew_every_time(self, problem: Problem) -> None:
        fresh = problem.algorithm.init(problem.meta)
        problem.update()
        again = problem.algorithm.init(problem.meta)
        assert list(fresh) == list(again) == list(problem.state)
        assert all(torch.equal(fresh[name], again[name]) for name in fresh)
        with pytest.raises(AttributeError):
            problem.algorithm.settings = None  # type: ignore[attr-defined]
