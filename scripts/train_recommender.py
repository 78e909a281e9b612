"""Meta-train a recommender that knows new users by a few ratings, and end with its errors on users never seen.

--ratings FOLDER holds MovieLens-100K's u.data, MovieLens-1M's ratings.dat or RecBole's NAME.inter, with the files that
describe users and items beside it; without a folder there are made-up ratings. A task is a user: the decision layers
adapt to his ratings but --queries of them, and the model is judged on these, while the vectors of what is known of
users and items stay (MeLU, arXiv 1908.00413). The tables have the mean absolute error and the order of the query set
after 0, 1, … 10 steps: nDCG with the gain 2^rating − 1, and nDCG@5 and precision@5 where the five items that the user
rated highest are the relevant ones. --new-items 0.2 keeps a share of the items from the training, and adds scenarios of
existing users and of new items. --online takes a step after every new rating of users whose taste turns round half way.
maml-trpo is MAML; its outer optimiser here is Adam, or the natural gradient with --outer-optimiser trust_region.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from machine import check_least
from rlmaml.base.errors import UserError
from rlmaml.settings.whole import Settings
from rlmaml.terminal.command import run_command
from rlmaml.terminal.words import counted
from supervised import SupervisedOptions, check_options, parse_supervised, train_supervised_command

if TYPE_CHECKING:
    from rlmaml.families.cold_start import ColdStart, Parts
    from rlmaml.training.supervised import SupervisedTasks, Trained

STARS = (1.0, 5.0)
"""Lowest and highest rating where nobody says others."""
LARGEST_RATING = 50
"""Highest that can be given: 2^rating is a number in single precision, and so are sums of a few."""


@dataclass(frozen=True)
class Options(SupervisedOptions):
    """Options of the script."""

    ratings: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder with the files of ratings, or the very file; by default ratings are made up."""
    rating_range: tuple[float, float] = STARS
    """Lowest and highest rating that can be given."""
    ratings_per_user: tuple[int, int] = (13, 100)
    """Fewest and most ratings of users who take part."""
    split: tuple[float, float, float] = (8.0, 1.0, 1.0)
    """Shares of the users for training, validation and test."""
    split_seed: int = 0
    """Which users, and new items, these are."""
    new_items: float = 0.0
    """Share of the items that the training never sees; above 0 there are scenarios of new items and existing users."""
    queries: int = 10
    """Ratings of a user that he is judged by."""
    query: Literal["last", "random"] = "last"
    """Whether these are his last ones in the test, or drawn, as they are in the training."""
    online: bool = False
    """Also take a step after every new rating of users of the test, whose taste turns round half way."""
    online_ratings: int = 40
    """Ratings of such a user; those with fewer are left out."""
    online_remembered: int = 10
    """Last ratings on which such a step is taken."""

    def __post_init__(self) -> None:
        """Check the numbers before anything is read."""
        check_least(
            ("--queries", self.queries, 1),
            ("--split-seed", self.split_seed, 0),
            ("--online-ratings", self.online_ratings, 2),
            ("--online-remembered", self.online_remembered, 1),
        )
        low, high = self.rating_range
        if not low < high:
            raise UserError(f"--rating-range is {low:g} to {high:g}; the first must be below the second.")
        if low < 0 or high > LARGEST_RATING:
            raise UserError(
                f"--rating-range is {low:g} to {high:g}; it must be within 0 to {LARGEST_RATING}, because a rating "
                "counts 2^rating − 1 in nDCG. Shift and scale the ratings in the file, to 1 to 5 for example."
            )
        if self.ratings is None and self.rating_range != STARS:
            raise UserError(
                f"--rating-range is {low:g} to {high:g}; made-up ratings are 1 to 5. Give --ratings FOLDER."
            )


def tasks_of(options: Options, settings: Settings, seed: int | None = None) -> "SupervisedTasks":  # noqa: ARG001
    """The users that options name; those of the test, each of whom counts once, are the new ones."""
    return rating_tasks(parts_of(options), settings)


def parts_of(options: Options) -> "Parts":
    """Families of users, divided as options say."""
    from rlmaml.families.cold_start import Division, divided_ratings
    from rlmaml.families.made_ratings import made_ratings
    from rlmaml.families.rating_files import read_ratings

    division = Division(
        *(options.split, options.new_items, *options.ratings_per_user, options.queries, options.query),
        seed=options.split_seed,
    )
    table = read_ratings(options.ratings, options.rating_range) if options.ratings else made_ratings()
    return divided_ratings(table, division)


def rating_tasks(parts: "Parts", settings: Settings) -> "SupervisedTasks":
    """Users to train on, and those of the first scenario to be scored on."""
    from rlmaml.evaluation.recommended import ndcg_of
    from rlmaml.training.supervised import SupervisedTasks

    first = next(iter(parts.scenarios.values()))
    if settings.has("categories"):
        settings = settings.changed(categories=parts.vocabulary.counts, flags=len(parts.vocabulary.flags))
    return SupervisedTasks(
        *(settings, parts.train, first, "mae"),
        validation=parts.validation,
        split=parts.split,
        judges={"ndcg": ndcg_of(first)},
    )


def main() -> None:
    """Parse, read the ratings, train, print the tables."""
    options, settings = parse_supervised(Options(), "recommender", str(__doc__))
    check_options(settings, options)
    parts = parts_of(options)
    (_, first), *others = parts.scenarios.items()

    def report(models: "Mapping[str, Trained]") -> tuple[dict[str, Any], str]:
        reported, told = reported_metrics(models, parts)
        found, also_told = reported_online(models, first, options) if options.online else ({}, "")
        return reported | found, told + also_told

    train_supervised_command(rating_tasks(parts, settings), options, also=dict(others), report=report)


def reported_metrics(models: "Mapping[str, Trained]", parts: "Parts") -> tuple[dict[str, Any], str]:
    """Every metric of the first scenario by model, and of the others of the run's own model.

    Args:
        models: by method, that of the run first.
        parts: the scenarios.

    Returns:
        The metrics for the JSON: nDCG@5 by itself, all of them by model and by scenario; and their tables.
    """
    from rlmaml.evaluation.query_scores import score_table
    from rlmaml.evaluation.recommended import METRICS, by_metric, judge_of
    from rlmaml.training.run import EVALUATION_SEED
    from rlmaml.training.supervised import judge_run

    def judged(model: "Trained", family: "ColdStart") -> dict[str, dict[str, list[Any]]]:
        return by_metric(judge_run(model.method, model.checkpoint, family, judge_of(family), EVALUATION_SEED))

    own, *_ = models
    first, *others = parts.scenarios
    rows = {name: judged(model, parts.scenarios[first]) for name, model in models.items()}
    scenarios = {first: rows[own]} | {name: judged(models[own], parts.scenarios[name]) for name in others}
    told = []
    for metric in METRICS[1:]:
        shown = {name: found[metric] for name, found in rows.items()}
        shown |= {f"{own}, {name}": scenarios[name][metric] for name in others}
        told.append(f"\n\n{metric}:\n\n{score_table(shown, {})}")
    return {"ndcg": rows[own]["ndcg@5"], "metrics": rows, "scenarios": scenarios}, "".join(told)


def reported_online(
    models: "Mapping[str, Trained]", family: "ColdStart", options: Options
) -> tuple[dict[str, Any], str]:
    """Errors and orders while ratings come one by one, for the JSON and in words.

    Raises:
        UserError: no user has so many ratings.
    """
    from rlmaml.evaluation.query_scores import score_table
    from rlmaml.evaluation.recommended import by_metric, online, shown_times, turned_histories

    histories = turned_histories(family, options.online_ratings)
    own, *_ = models
    trained = models[own]
    found = {
        name: by_metric(
            online(
                *(family, histories, trained.method.policy, trained.method.rule),
                *(trained.checkpoint.meta, trained.checkpoint.settings),
                remembered=options.online_remembered,
                adapts=adapts,
            )
        )
        for name, adapts in (("a step after each", True), ("no steps", False))
    }
    times = shown_times(histories)
    users, told = counted(len(histories.ratings.valid), "user"), []
    for metric in ("mae", "ndcg@5"):
        title = f"\n\n{metric} of {users} after so many ratings; taste turns round after {histories.turn}:\n\n"
        rows = {
            name: {part: [row[metric][part][t] for t in times] for part in row[metric]} for name, row in found.items()
        }
        told.append(title + score_table(rows, {}, titles=[str(t) for t in times]))
    return {"online": {"turn": histories.turn, **found}}, "".join(told)


if __name__ == "__main__":
    run_command(main)
