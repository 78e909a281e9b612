from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.core.types import Examples, Meta, Outputs, Tasks
from rlmaml.evaluation.fits import LOOKS, fits_figure
from rlmaml.evaluation.query_scores import QueryScores, judged_queries, score_table
from rlmaml.families.sinusoid import Sinusoid
from rlmaml.training.begin import begin, make_method
from tests.rlmaml.families.supervised import supervised

FAMILY = Sinusoid(shots=3, queries=4)
SETTINGS = supervised("maml-trpo", inner_step_sizes=(0.05,), num_tasks=3)


def scored(num_tasks: int = 5, at_once: int = 3) -> QueryScores:
    method = make_method(SETTINGS, FAMILY)
    meta = begin(SETTINGS, method).meta
    settings = SETTINGS.changed(num_tasks=at_once)
    return QueryScores(
        judged_queries(
            *(FAMILY, method.policy, method.rule, meta, settings),
            judge=FAMILY.score,
            num_tasks=num_tasks,
            steps=2,
            seed=7,
        )
    )


def test_a_tasks_score_does_not_depend_on_how_many_are_adapted_to_at_once() -> None:
    together, in_parts, fewer = scored(at_once=5).scores, scored(at_once=2).scores, scored(num_tasks=2).scores
    assert together.shape == (5, 3)
    torch.testing.assert_close(in_parts, together, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(fewer, together[:2], rtol=1e-5, atol=1e-6)
    assert not torch.equal(together[:, 0], together[:, 1])


def test_a_judge_of_several_numbers_has_each_of_them_after_every_step() -> None:
    method = make_method(SETTINGS, FAMILY)

    def both(outputs: Outputs, data: Examples) -> Tensor:
        return torch.stack([FAMILY.score(outputs, data), 2 * FAMILY.score(outputs, data)])

    meta = begin(SETTINGS, method).meta
    parts = judged_queries(
        *(FAMILY, method.policy, method.rule, meta, SETTINGS), judge=both, num_tasks=5, steps=2, seed=7
    )
    assert parts.shape == (5, 3, 2)
    assert torch.equal(parts[..., 0], scored().scores)
    assert torch.equal(parts[..., 1], 2 * parts[..., 0])


def test_of_listed_tasks_each_is_scored_once_and_no_more_than_there_are() -> None:
    class Listed(Sinusoid):
        """Four waves."""

        def every_task(self) -> Tasks:
            return self.sample_tasks(4, range(4))

    family, method = Listed(shots=3, queries=4), make_method(SETTINGS, FAMILY)
    arguments = (family, method.policy, method.rule, begin(SETTINGS, method).meta, SETTINGS)

    def amplitude(outputs: Outputs, data: Examples) -> Tensor:
        return data.targets.abs().max()

    every = judged_queries(*arguments, judge=amplitude, num_tasks=9, steps=0, seed=7)[:, 0]
    streams = RandomStreams(7, Phase.EVALUATION)
    expected = family.sets(family.every_task(), streams.example_seeds(range(4))).query.targets.abs().flatten(1).amax(1)
    assert torch.equal(every, expected)
    assert torch.equal(judged_queries(*arguments, judge=amplitude, num_tasks=2, steps=0, seed=7)[:, 0], expected[:2])


def test_zero_shot_is_the_error_of_theta_itself() -> None:
    at_once = SETTINGS.changed(num_tasks=2000)
    method = make_method(at_once, FAMILY)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in begin(at_once, method).meta.params.items()}
    found = judged_queries(
        *(FAMILY, method.policy, method.rule, Meta(zeros, {}), at_once),
        judge=FAMILY.score,
        num_tasks=2000,
        steps=0,
        seed=0,
    )
    # E[(A sin(x − b))²] with A uniform in [0.1, 5], b in [0, π] and x in [−5, 5]: E[A²] / 2 = 4.25
    assert float(found.mean()) == pytest.approx(4.25, abs=0.35)


def test_the_summary_is_means_over_tasks_with_students_interval() -> None:
    values = torch.tensor([[4.0, 1.0], [2.0, 1.0], [3.0, 4.0]])
    summary = QueryScores(values).summary()
    assert summary["mean"] == [3.0, 2.0]
    low, high = stats.t.interval(0.95, 2, loc=3.0, scale=1 / np.sqrt(3))
    assert summary["ci95"][0] == pytest.approx([low, high])
    assert QueryScores(values[:1]).summary()["ci95"] == [[None, None], [None, None]]
    values[0, 1] = torch.inf  # a task that diverged
    assert QueryScores(values).summary()["mean"][1] is None


def test_the_tables_first_column_is_zero_shot_and_published_means_stand_at_their_steps() -> None:
    row: dict[str, list[Any]] = {"mean": [3.0, 2.0, 1.0], "ci95": [[2.0, 4.0], [1.5, 2.5], [None, None]]}
    lines = score_table({"maml-trpo": row, "pretrained": row}, {"MAML, published": {1: 0.9}}).splitlines()
    assert lines[0].split() == ["steps", "zero-shot", "1", "2"]
    assert lines[1].split() == ["maml-trpo", "3.000", "±1.000", "2.000", "±0.500", "1.000"]
    assert lines[2].startswith("pretrained")
    assert lines[3].split() == ["MAML,", "published", "0.900"]
    assert lines[3].index("0.900") > lines[1].index("3.000") + 10


def test_a_figure_shows_waves_their_points_and_the_model_after_some_steps() -> None:
    method = make_method(SETTINGS, FAMILY)
    meta = begin(SETTINGS, method).meta
    figure = fits_figure(FAMILY, method.policy, method.rule, meta, 7, num_tasks=2)
    assert len(figure.axes) == 2
    for axes in figure.axes:
        lines = axes.get_lines()
        assert [line.get_label() for line in lines][2:] == ["zero-shot", "after 1 step", "after 10 steps"]
        assert len(lines) == 2 + len(LOOKS)
        drawn = [np.asarray(line.get_ydata()) for line in lines]
        assert len(drawn[1]) == FAMILY.shots
        assert not np.array_equal(drawn[2], drawn[3])
        assert not np.array_equal(drawn[3], drawn[4])
