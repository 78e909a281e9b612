import numpy as np

from rlmaml_envs.occupancy import occupancy


def test_a_disc_is_1_inside_0_outside_and_half_at_its_edge() -> None:
    # cells of 1 m with centres at -1.5, -0.5, 0.5, 1.5 m; a disc of 1 m about (-0.5, 0.5)
    (picture,) = occupancy(np.array([[[-0.5, 0.5]]]), 1.0, cells=4, width=4.0)
    far = 1.5 - np.sqrt(2)
    expected = [[0, far, 0.5, far], [0, 0.5, 1, 0.5], [0, far, 0.5, far], [0, 0, 0, 0]]
    np.testing.assert_allclose(picture, expected, atol=1e-12)


def test_of_several_discs_a_cell_shows_the_one_that_fills_it_most() -> None:
    places = np.random.default_rng(0).uniform(-1, 1, (3, 2, 2))
    both, *alone = (occupancy(discs, 0.2, 6, 2.0) for discs in (places, places[:, :1], places[:, 1:]))
    np.testing.assert_array_equal(both, np.maximum(*alone))
    assert both.shape == (3, 6, 6)
    np.testing.assert_array_equal(occupancy(places[[2, 0]], 0.2, 6, 2.0), both[[2, 0]])


def test_rows_go_along_x_and_columns_along_y() -> None:
    (picture,) = occupancy(np.array([[[0.75, -0.25]]]), 0.1, 4, 2.0)
    assert np.unravel_index(picture.argmax(), picture.shape) == (3, 1)
