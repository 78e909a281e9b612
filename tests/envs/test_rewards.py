import numpy as np
import pytest

from rlmaml_envs import rewards


def test_the_terms_by_hand() -> None:
    # |1 - 3| = 2, |-1 - 0.5| = 1.5
    speed, target = np.array([1.0, -1.0]), np.array([3.0, 0.5])
    assert rewards.velocity_error_cost(speed, target).tolist() == [-2.0, -1.5]
    assert rewards.forward_reward(speed, 1.25).tolist() == [1.25, -1.25]
    # |1 - 4| + |2 - -2| = 7
    assert rewards.distance_cost(np.array([[1.0, 2.0]]), np.array([[4.0, -2.0]])).tolist() == [-7.0]
    # 0.5 (0.25 + 1) = 0.625
    assert rewards.control_cost(np.array([[0.5, -1.0]]), 0.5).tolist() == [-0.625]
    # 0.1 (1 + 4 + 9) = 1.4, at most 1
    forces = np.zeros((1, 2, 6))
    forces[0, 0, 0], forces[0, 1, 3], forces[0, 1, 5] = 1.0, -2.0, 3.0
    assert rewards.contact_cost(forces, 0.1) == pytest.approx([-1.4])
    assert rewards.contact_cost(forces, 0.1, largest=1.0).tolist() == [-1.0]
    assert rewards.survive_reward(np.array([True, False]), 5.0).tolist() == [5.0, 0.0]


def test_a_heading_is_the_unit_vector_counter_clockwise_from_x() -> None:
    angles = np.array([0.0, np.pi / 2, -3 * np.pi / 4])
    expected = [[1.0, 0.0], [0.0, 1.0], [-np.sqrt(0.5), -np.sqrt(0.5)]]
    np.testing.assert_allclose(rewards.heading(angles), expected, atol=1e-15)
