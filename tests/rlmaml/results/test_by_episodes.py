import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.base.plain_data import DamagedError, read_json
from rlmaml.evaluation.lived import shared
from rlmaml.results.by_episodes import (
    AS_BUILT,
    TEACHER,
    LivedComparison,
    compare_lived,
    lived_figure,
    lived_table,
    within_budget,
)
from rlmaml.results.compare import MethodReturns
from rlmaml.results.contenders import BEYOND_RANGE, IN_RANGE
from rlmaml.rules.search_rule import ContextRange
from rlmaml.settings.search import SearchSettings
from rlmaml.settings.whole import as_method
from rlmaml.storage.run_directory import ComparisonDirectory, write_json
from rlmaml.training.run import MakeEnv
from rlmaml_envs import make_tasks_env
from tests.rlmaml.makers import gaussian_policy
from tests.rlmaml.results.test_compare import SETTINGS, forbidden
from tests.rlmaml.training.conftest import plain_figures

__all__ = ["plain_figures"]


def returns(*means: float) -> MethodReturns:
    """Of one seed and three tasks, 1 below, at and 1 above the mean."""
    return MethodReturns(np.stack([np.array(means) + more for more in (-1, 0, 1)])[None])


def comparison(**places: tuple[float, ...]) -> LivedComparison:
    both = {name: {a: {"rl2": returns(*means)} for a in ("sampled", "mean")} for name, means in places.items()}
    return LivedComparison((0, 5, 50), both)


def test_what_a_change_costs_and_what_is_recovered_of_it_by_hand() -> None:
    # Intact 400, changed 200: it costs 200. After 5 episodes 250, a quarter of it; after 50 it is 350, three quarters.
    found = comparison(**{IN_RANGE: (200.0, 250.0, 350.0), AS_BUILT: (400.0, 390.0, 395.0)})
    assert found.cost("mean", "rl2", IN_RANGE) == 200.0
    assert found.recovered("mean", "rl2", IN_RANGE).tolist() == [0.0, 0.25, 0.75]
    table = lived_table(found, IN_RANGE, "mean")
    assert table.splitlines()[0] == "| method | zero-shot | 5 lived | 50 lived | recovered |"
    assert "| rl2 | 200.0 ± 2.5 | 250.0 ± 2.5 | 350.0 ± 2.5 | 75 % |" in table
    assert "Means over 1 seed; ± is half the 95 % interval over 3 tasks. Mean actions." in table
    assert "recovered" not in lived_table(found, AS_BUILT, "mean")
    alone = MethodReturns(np.full((1, 1, 3), 200.0))
    table = lived_table(LivedComparison((0, 5, 50), {IN_RANGE: {"mean": {"rl2": alone}}}), IN_RANGE, "mean")
    assert "| rl2 | 200.0 | 200.0 | 200.0 |" in table
    assert "± takes 3 tasks or more" in table


def test_where_a_change_costs_nothing_or_nobody_knows_nothing_is_recovered() -> None:
    gained = comparison(**{IN_RANGE: (200.0, 250.0, 350.0), AS_BUILT: (100.0, 90.0, 95.0)})
    assert np.isnan(gained.recovered("mean", "rl2", IN_RANGE)).all()
    assert "| – |" in lived_table(gained, IN_RANGE, "mean")
    unsure = comparison(**{IN_RANGE: (200.0, 250.0, 350.0), AS_BUILT: (204.0, 390.0, 395.0)})  # 4 < 2.5 + 2.5
    assert np.isnan(unsure.recovered("mean", "rl2", IN_RANGE)).all()
    of_two = {
        place: {a: {"rl2": MethodReturns(rows["rl2"].per_task[:, :2])} for a, rows in actions.items()}
        for place, actions in comparison(**{IN_RANGE: (1.0, 2.0, 3.0), AS_BUILT: (1.1, 2.0, 3.0)}).results.items()
    }
    assert np.isnan(LivedComparison((0, 5, 50), of_two).recovered("mean", "rl2", IN_RANGE)).all()  # and not 2000 %
    unknown = comparison(**{IN_RANGE: (200.0, 250.0, 350.0), BEYOND_RANGE: (100.0, 90.0, 95.0)})
    assert np.isnan(unknown.recovered("mean", "rl2", IN_RANGE)).all()
    assert "recovered" not in lived_table(unknown, IN_RANGE, "sampled")
    axes = lived_figure(unknown).axes
    assert [one.get_title() for one in axes] == [
        f"{place}, {actions} actions" for actions in ("sampled", "mean") for place in (IN_RANGE, BEYOND_RANGE)
    ]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Callable[..., LivedComparison]]:
    """One meta-iteration of memory, teacher and search, and who does not adapt, on robots of which any one changed."""
    folder = tmp_path_factory.mktemp("lived")
    base = SETTINGS.changed(
        env_id="HalfCheetahChanged-v0", variant="any_but_dead", iterations=1, evaluation_tasks=2, inner_steps=1
    ).changed(stage_weights=(0.0, 1.0))
    small: dict[str, dict[str, Any]] = {"rl2": {"memory": 4, "minibatches": 1}, "cavia": {"context": 2}}
    small["rma"] = small["rl2"]
    methods = {name: as_method(base, name).changed(**small.get(name, {})) for name in ("cavia", "rl2", "rma")}

    def make(settings: Any) -> MakeEnv:
        run = settings.run
        return lambda copies: make_tasks_env(
            run.env_id, copies, run.horizon, variant=run.variant, observe_task=run.observe_task
        )

    def run(make_env: Any = make, **options: Any) -> LivedComparison:
        asked: dict[str, Any] = {
            "lived": (2, 0, 1),
            "beyond": True,
            "as_built": "unchanged",
            "search": SearchSettings("hill-climbing"),
            "tell": str,
            **options,
        }
        return compare_lived(base, methods, (0,), make_env, ComparisonDirectory(folder), **asked)

    run()
    return folder, run


Compared = tuple[Path, Callable[..., LivedComparison]]


def test_every_method_has_a_row_on_every_set_of_tasks_and_the_teacher_one_of_its_own(compared: Compared) -> None:
    folder, run = compared
    found = run(forbidden)
    assert found.lived == (0, 1, 2)
    assert list(found.results) == [IN_RANGE, BEYOND_RANGE, AS_BUILT]
    for of_actions in found.results.values():
        for rows in of_actions.values():
            assert list(rows) == ["cavia", "rl2", "rma", TEACHER]
            assert {row.per_task.shape for row in rows.values()} == {(1, 2, 3)}
            assert (rows[TEACHER].per_task == rows[TEACHER].per_task[:, :, :1]).all()
            assert (rows[TEACHER].per_task != rows["rma"].per_task)[:, :, 0].all()  # at once: who is told, who guesses
            assert not (rows["rl2"].per_task == rows["rl2"].per_task[:, :, :1]).all()
    found_by_search = [rows["rma"].per_task for of_actions in found.results.values() for rows in of_actions.values()]
    assert all((row[:, :, 1:] != row[:, :, :1]).any() for row in found_by_search)
    robots = [of_actions["mean"]["rl2"].per_task[..., 0] for of_actions in found.results.values()]
    assert all(
        (one != other).all() for one, other in itertools.combinations(robots, 2)
    )  # each place has tasks of its own
    written = read_json(folder / "lived.json")
    assert written["results"][IN_RANGE]["mean"]["rma"]["per_task"] == (
        found.results[IN_RANGE]["mean"]["rma"].per_task.tolist()
    )
    assert (folder / "lived.png").stat().st_size > 10_000


def test_other_numbers_are_measured_anew_and_a_damaged_file_is_refused_by_name(compared: Compared) -> None:
    folder, run = compared
    with pytest.raises(AssertionError):
        run(forbidden, lived=(0, 1))
    path = folder / "rma-seed0" / "lived.json"
    stored = read_json(path)
    damaged: list[dict[str, Any]] = [{}, stored | {"curves": {}}, stored | {"config": 3}]
    for broken in damaged:
        write_json(path, broken)
        with pytest.raises(DamagedError, match=r"lived\.json"):
            run(forbidden)
    write_json(path, stored)


@pytest.mark.parametrize(("episodes", "average", "attempts"), [(1, 2, 0), (2, 2, 1), (5, 2, 2), (50, 2, 25), (5, 1, 5)])
def test_a_search_has_as_many_attempts_as_its_episodes_are_enough_for_and_lives_them_all(
    episodes: int, average: int, attempts: int
) -> None:
    """Also one by gradient, of two episodes an attempt, after 1, 2, 5, 10, 20 and 50 of them."""
    limits = ContextRange({"context": -torch.ones(2)}, {"context": torch.ones(2)})
    search = SearchSettings("gradient" if average == 2 else "cmaes")
    rule = within_budget(search, limits, gaussian_policy(context=2), episodes)
    assert (rule.steps, rule.average) == (attempts, average)
    assert min(shared(episodes, rule.steps), default=average) >= average
    assert sum(shared(episodes, rule.steps)) == (episodes if attempts else 0)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"lived": (1, 2)}, "--lived is 1 2; give different numbers of episodes, 0 among them"),
        ({"lived": (0, 0)}, "--lived is 0 0"),
        ({"lived": (0,)}, "--lived is 0;"),
        ({"lived": (0, -1)}, "--lived is 0 -1"),
        (
            {"lived": (0, 1), "search": SearchSettings("cmaes", search_episodes=4, search_average=2)},
            "--lived is 1 at most; an attempt of --search takes 2 episodes",
        ),
    ],
)
def test_numbers_that_make_no_sense_are_refused_before_anything_is_trained(
    compared: Compared, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        compared[1](forbidden, **asked)
