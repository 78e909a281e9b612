"""Ratings that are made up, where nobody has any: of users with a mood and a taste, and items with a quality and kinds.

    rating = 3.2 + mood of the user + quality of the item + taste of the user · kinds of the item + noise,

rounded to whole stars from 1 to 5. A user's taste is that of his age group in part, and his own in part: the first can
be told from his features, the second from his ratings alone.
"""

import numpy as np

from rlmaml.families.ratings import Described, RatingTable

KINDS = ("comedy", "drama", "thriller", "romance", "science fiction", "documentary")
GROUPS = ("18-24", "25-34", "35-44", "45 and over")
MEAN, NOISE = 3.2, 0.4
"""In stars."""


def made_ratings(num_users: int = 200, num_items: int = 150, seed: int = 0) -> RatingTable:
    """A table of ratings; users have rated 13 to 60 items each, in a random order."""
    generator = np.random.Generator(np.random.PCG64(seed))
    group = generator.integers(len(GROUPS), size=num_users)
    kinds = generator.random((num_items, len(KINDS))) < 0.3
    quality, mood = generator.normal(0, 0.5, num_items), generator.normal(0, 0.5, num_users)
    shared = generator.normal(0, 0.5, (len(GROUPS), len(KINDS)))
    taste = shared[group] + generator.normal(0, 0.7, (num_users, len(KINDS)))
    counts = generator.integers(13, min(61, num_items + 1), size=num_users)
    who = np.repeat(np.arange(num_users), counts)
    what = np.concatenate([generator.permutation(num_items)[:count] for count in counts])
    centred = kinds - kinds.mean(0)
    liked = MEAN + mood[who] + quality[what] + (taste[who] * centred[what]).sum(1)
    ratings = np.rint(liked + generator.normal(0, NOISE, len(who))).clip(1.0, 5.0)
    users = Described(
        tuple(map(str, range(num_users))), {"age": tuple(GROUPS[own] for own in group)}, (frozenset(),) * num_users
    )
    flags = tuple(frozenset(np.array(KINDS)[own].tolist()) for own in kinds)
    return RatingTable(
        "made", users, Described(tuple(map(str, range(num_items))), {}, flags), who, what, ratings, 1.0, 5.0
    )
