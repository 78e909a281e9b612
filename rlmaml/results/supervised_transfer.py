"""What a training on one family of supervised tasks brings on another: beside a training there alone, as long.

Both see as many tasks, with as many meta-iterations; what was trained on the source adapts to the target's held-out
tasks as what was trained there does.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlmaml.base.errors import UserError
from rlmaml.evaluation.figures import write_figure
from rlmaml.evaluation.query_scores import QueryScores
from rlmaml.results.compare import MethodReturns
from rlmaml.results.transfer import Transfer, check_same_sizes, check_two_variants, plain_transfer, transfer_figure
from rlmaml.storage.run_directory import ComparisonDirectory, write_json
from rlmaml.training.begin import make_method
from rlmaml.training.run import EVALUATION_SEED, run_settings
from rlmaml.training.supervised import SupervisedTasks, Trained, as_scored, score_run, train_supervised

MakeTasks = Callable[[str, str, int], SupervisedTasks]
"""``make(variant, method, seed)``."""


def supervised_transfer(
    source: str,
    target: str,
    make: MakeTasks,
    methods: Sequence[str],
    seeds: Sequence[int],
    directory: ComparisonDirectory,
    *,
    made_by: Callable[[str, Path], Mapping[str, Any]],
    tell: Callable[[str], object] = print,
) -> Transfer:
    """Train on both variants, adapt all to the target's held-out tasks, and write results and figure.

    Runs that are there are gone on with, or used as they are.

    Args:
        source: what is trained on first.
        target: what all are adapted to.
        make: makes the tasks of a variant, with a method's settings.
        methods: names that ``--algorithm`` takes.
        seeds: of the trainings.
        directory: of the results; each variant's runs are in a directory of its name.
        made_by: the options by which the tasks of a variant are made again, as a run in a directory keeps them.
        tell: what is done with a line about what is going on.

    Raises:
        UserError: both are the same variant, a model does not fit both, or see
            :func:`rlmaml.training.supervised.train_supervised`.
    """
    check_two_variants(source, target)
    posed = {
        (variant, method, seed): make(variant, method, seed)
        for method in methods
        for seed in seeds
        for variant in (source, target)
    }
    for method in methods:
        ours, theirs = (posed[variant, method, seeds[0]].family.sizes for variant in (source, target))
        check_same_sizes(method, source, target, ours, theirs)
        names = [posed[variant, method, seeds[0]].settings.network for variant in (source, target)]
        if names[0] != names[1]:
            raise UserError(f"The models of {source} and {target} are different ones: {names[0]} and {names[1]}.")
    found: dict[tuple[str, str, int], Any] = {}
    for done, ((variant, method, seed), tasks) in enumerate(posed.items(), start=1):
        run = ComparisonDirectory(directory.path / variant).run(method, seed)
        trained = train_supervised(tasks, run.path, made_by=made_by(variant, run.path), resume=True)
        reached = trained.scores if variant == target else scored_on(posed[target, method, seed], trained)
        found[variant, method, seed] = reached.scores.double().numpy()
        tell(f"run {done} of {len(posed)}: {method}, seed {seed}, trained on {variant}")
    from_source, alone = (
        {method: MethodReturns(np.stack([found[variant, method, seed] for seed in seeds])) for method in methods}
        for variant in (source, target)
    )
    first = next(iter(posed.values()))
    outcome = Transfer(source, target, from_source, alone, score=first.what)
    write_figure(directory.transfer_figure, transfer_figure(outcome))
    write_json(directory.transfer, plain_transfer(outcome, run_settings(first.settings) | {"seeds": list(seeds)}))
    return outcome


def scored_on(tasks: SupervisedTasks, trained: Trained) -> QueryScores:
    """Scores of a training on other tasks than its own.

    Steps go down the loss of these and, where it was not meta-trained for any, have sizes that suit these.
    """
    there, method = tasks.held_out, make_method(trained.checkpoint.settings, tasks.family)
    method, checkpoint = as_scored(method, trained.checkpoint, tasks)
    return score_run(method, checkpoint, there, there.score, EVALUATION_SEED)
