import numpy as np

from rlmaml.families.made_ratings import GROUPS, KINDS, made_ratings


def test_made_ratings_are_whole_stars_of_13_to_60_different_items_per_user() -> None:
    table = made_ratings(40, 80)
    assert set(table.ratings.tolist()) == {1.0, 2.0, 3.0, 4.0, 5.0}
    counts = np.bincount(table.who)
    assert 13 <= counts.min() < counts.max() <= 60
    assert len({*zip(table.who.tolist(), table.what.tolist(), strict=True)}) == len(table.ratings)
    assert set(table.users.categories["age"]) == set(GROUPS)
    assert set.union(*map(set, table.items.flags)) == set(KINDS)


def test_they_follow_from_the_seed_and_a_users_own_ratings_tell_more_than_his_group() -> None:
    one, same, other = (made_ratings(200, 150, seed) for seed in (0, 0, 1))
    assert np.array_equal(one.ratings, same.ratings)
    assert len(one.ratings) != len(other.ratings) or not np.array_equal(one.ratings, other.ratings)
    quality = np.array([one.ratings[one.what == item].mean() for item in range(150)])
    left = one.ratings - quality[one.what]
    of_user = np.array([left[one.who == user].mean() for user in range(200)])
    group = np.array(one.users.categories["age"])[one.who]
    of_group = {name: left[group == name].mean() for name in GROUPS}
    by_group = left - np.array([of_group[name] for name in group])
    assert (left - of_user[one.who]).var() < 0.9 * by_group.var()
