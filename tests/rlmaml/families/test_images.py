from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlmaml.base.errors import UserError
from rlmaml.families.images import FewShot, held_back, rotated, split_classes, split_of
from rlmaml.sampling.examples import SupervisedFamily, check_examples

PICTURES = {
    name: (100 * index + torch.arange(8).view(-1, 1)).expand(-1, 4).to(torch.uint8)
    for index, name in enumerate(["a", "b", "c"])
}
"""Image i of class c is 100 c + i everywhere: it says where it is from."""


def family(**changes: Any) -> FewShot:
    return FewShot("made", PICTURES, **{"ways": 2, "shots": 3, "queries": 4, **changes})


def test_it_is_a_supervised_family_whose_sets_fit_its_sizes() -> None:
    own = family()
    assert isinstance(own, SupervisedFamily)
    tasks = own.sample_tasks(5, range(5))
    for part, each in zip(own.sets(tasks, range(5)), (3, 4), strict=True):
        check_examples(part, 5, own.sizes, "It")
        assert part.targets[0].tolist() == [0] * each + [1] * each


def test_labels_are_the_places_of_the_tasks_own_different_classes() -> None:
    own = family()
    tasks = own.sample_tasks(20, range(20))
    support, query = own.sets(tasks, range(20))
    for task, classes in enumerate(tasks["classes"]):
        assert len(set(classes)) == 2
        for part in (support, query):
            numbers = (part.observations[task, :, 0] * 255).round()
            assert torch.equal(numbers // 100, torch.from_numpy(classes)[part.targets[task]].float())
    assert len({tuple(row) for row in tasks["classes"].tolist()}) == 6  # every order of every two


def test_no_image_is_in_both_sets_or_twice_in_one() -> None:
    support, query = family().sets(family().sample_tasks(9, range(9)), range(9))
    for task in range(9):
        numbers = torch.cat([support.observations[task, :, 0], query.observations[task, :, 0]])
        assert len(set(numbers.tolist())) == 14


def test_a_query_sets_statistics_are_the_supports_or_where_asked_for_its_own() -> None:
    tasks = family().sample_tasks(2, [1, 2])
    support, query = family().sets(tasks, [3, 4])
    assert torch.equal(query.references, support.observations)
    assert support.references.shape == (2, 0, 4)
    own = family().judged_by(transductive=True).sets(tasks, [3, 4])
    assert own.query.references.shape == (2, 0, 4)
    assert torch.equal(own.query.observations, query.observations)
    assert "transductive" in family().judged_by(transductive=True).variant
    assert "transductive" not in family().variant


def test_a_task_follows_from_its_own_seeds_alone() -> None:
    several, alone = family().sample_tasks(3, [5, 6, 7]), family().sample_tasks(1, [6])
    assert (several["classes"][1] == alone["classes"][0]).all()
    together, own = family().sets(several, [1, 2, 3]), family().sets(alone, [2])
    assert torch.equal(together.support.observations[1:2], own.support.observations)


@given(st.integers(0, 9), st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)))
def test_splits_never_share_a_class_and_do_not_depend_on_the_order_of_names(
    seed: int, numbers: tuple[int, int, int]
) -> None:
    names = [f"class {i}" for i in range(12)]
    split = split_classes(names, seed, numbers)
    assert split == split_classes(names[::-1], seed, numbers)
    assert tuple(len(part) for part in split.values()) == numbers
    every = [name for part in split.values() for name in part]
    assert len(set(every)) == len(every)


def test_another_seed_splits_otherwise_and_too_many_classes_are_refused() -> None:
    names = list("abcdefgh")
    assert split_classes(names, 0, (4, 2, 2)) != split_classes(names, 1, (4, 2, 2))
    with pytest.raises(UserError, match=r"--split is \(6, 2, 1\).*at most 8 in all"):
        split_classes(names, 0, (6, 2, 1))


def test_folders_of_parts_are_the_split_unless_numbers_are_asked_for() -> None:
    names = ["train/n02", "test/n03", "train/n01", "val/n04"]
    assert split_of(names, 0, ()) == {
        "train": ["train/n01", "train/n02"],
        "validation": ["val/n04"],
        "test": ["test/n03"],
    }
    assert [len(own) for own in split_of(names, 0, (1, 1, 2)).values()] == [1, 1, 2]
    with pytest.raises(UserError, match="train/n01 and val/n01 are one class in two parts"):
        split_of(["train/n01", "val/n01", "test/n03"], 0, ())
    with pytest.raises(UserError, match=r"--split is \(1, 2\); it must be three numbers"):
        split_of(names, 0, (1, 2))


def test_without_folders_of_parts_six_of_ten_classes_are_trained_on() -> None:
    split = split_of([str(digit) for digit in range(10)], 3, ())
    assert [len(own) for own in split.values()] == [6, 0, 4]
    assert split == split_classes([str(digit) for digit in range(10)], 3, (6, 0, 4))


def test_images_that_are_held_back_are_a_fourth_of_every_class_and_no_others() -> None:
    kept, held = held_back(PICTURES)
    assert held["a"][:, 0].tolist() == [0, 4]
    assert kept["a"][:, 0].tolist() == [1, 2, 3, 5, 6, 7]


def test_a_run_on_other_images_of_the_same_names_is_another_problem() -> None:
    other = {**PICTURES, "a": PICTURES["a"].flip(0)}
    assert FewShot("made", dict(PICTURES), 2, 3, 4).variant == family().variant
    assert FewShot("made", other, 2, 3, 4).variant != family().variant


def test_turned_images_are_classes_of_their_own() -> None:
    square = torch.tensor([[1, 2, 3, 4]], dtype=torch.uint8)
    turned = rotated({"a": square}, (1, 2, 2))
    assert list(turned) == ["a", "a, turned by 90", "a, turned by 180", "a, turned by 270"]
    assert [own.tolist() for own in turned.values()] == [[[1, 2, 3, 4]], [[2, 4, 1, 3]], [[4, 3, 2, 1]], [[3, 1, 4, 2]]]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"shots": 0}, "--shots is 0; it must be at least 1"),
        ({"ways": 4}, "--ways is 4; it must be from 2 to 3, the classes of made"),
        ({"ways": 1}, "--ways is 1"),
        ({"shots": 5}, "Class a of made has 8 images; --shots 5 and --queries 4 need 9"),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes: dict[str, int], says: str) -> None:
    with pytest.raises(UserError, match=says):
        family(**changes)
