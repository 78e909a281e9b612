from rlmaml.families.published_accuracy import published_accuracy

OMNIGLOT = {f"Alphabet/{i}/character{i:02d}": 20 for i in range(1623)}
MINI_IMAGENET = {f"train/n{i:08d}": 600 for i in range(100)}


def test_published_accuracies_stand_beside_the_data_that_they_are_of() -> None:
    assert published_accuracy(OMNIGLOT, 5, 1)["MAML, arXiv 1703.03400"] == 0.987
    assert published_accuracy(OMNIGLOT, 5, 5)["MAML, arXiv 1703.03400"] == 0.999
    assert published_accuracy(MINI_IMAGENET, 5, 5)["MAML++, arXiv 1810.09502"] == 0.6832


def test_other_data_or_tasks_have_none() -> None:
    assert not published_accuracy({str(digit): 180 for digit in range(10)}, 5, 1)
    assert not published_accuracy(dict(list(OMNIGLOT.items())[1:]), 5, 1)
    assert not published_accuracy(dict.fromkeys(MINI_IMAGENET, 599), 5, 1)
    assert not published_accuracy(OMNIGLOT, 4, 5)
