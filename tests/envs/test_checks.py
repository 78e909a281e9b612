import numpy as np
import pytest

from rlmaml_envs.checks import check_names, check_numbers


def test_rows_that_do_not_count_may_be_anything() -> None:
    values = np.array([[1.0, 2.0], [np.nan, 0.0]])
    check_numbers("It", values, (2, None), "(copy, 2)", rows=np.array([True, False]))
    with pytest.raises(ValueError, match=r"It must be finite; got nan at \[1, 0\]"):
        check_numbers("It", values, (2, None), "(copy, 2)")


@pytest.mark.parametrize(
    ("values", "kinds", "words"),
    [
        (np.ones(3), "fiub", r"numbers \(copy, 2\), here \(3, 2\); got shape \(3,\)"),
        (np.ones((3, 2)), "b", "truth values .* got dtype float64"),
        (np.array([["a", "b"]] * 3), "fiub", "got dtype <U1"),
        ([[1, 2], [3, 4]], "fiub", r"got shape \(2, 2\)"),
    ],
)
def test_a_wrong_shape_or_type_is_refused(values: object, kinds: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_numbers("It", values, (3, 2), "(copy, 2)", kinds=kinds)


def test_names_of_no_task_parameter_are_refused_with_those_there_are() -> None:
    check_names("changes", ["speed"], {"speed": 1, "load": 2})
    with pytest.raises(ValueError, match=r"changes names \['lode'\].*speed, load"):
        check_names("changes", ["speed", "lode"], {"speed": 1, "load": 2})
