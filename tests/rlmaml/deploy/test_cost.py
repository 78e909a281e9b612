import torch

from rlmaml.deploy.cost import peak_bytes, step_cost
from tests.rlmaml.deploy.trained import PLAIN, navigation, trained_policy

MB = 1_000_000


def test_the_peak_is_what_there_is_at_once_of_what_an_action_makes() -> None:
    before = torch.zeros(MB)

    def action() -> float:
        first = before + 1  # 4 MB
        second = first[:10]  # shares its memory
        third = first.double()  # 8 MB more
        del first, second
        fourth = third * 2  # 8 MB, while the first is still there through its view
        del third
        fifth = fourth.view(-1)[:MB].float()  # 4 MB
        return float(fifth[0])

    assert 16 * MB <= peak_bytes(action) <= 20 * MB + 1000
    assert peak_bytes(lambda: before.view(-1)[3:]) == 0
    assert peak_bytes(lambda: [before + k for k in range(3)]) == 3 * 4 * MB
    assert peak_bytes(lambda: [(before + k).sum() for k in range(3)]) <= 4 * MB + 100


def test_what_is_kept_for_a_gradient_counts() -> None:
    weights = torch.zeros(MB, requires_grad=True)

    def action(record: bool) -> None:
        with torch.set_grad_enabled(record):
            ((weights * 2).tanh().tanh()).sum()

    assert peak_bytes(lambda: action(record=True)) >= 2 * 4 * MB
    assert peak_bytes(lambda: action(record=True)) > peak_bytes(lambda: action(record=False))


def test_a_step_takes_more_memory_on_more_episodes_and_some_time() -> None:
    policy = trained_policy(PLAIN)
    few, many = (step_cost(policy, policy.record(navigation(copies), 0), repeats=1) for copies in (2, 20))
    assert few.seconds > 0
    assert many.peak_bytes > 3 * few.peak_bytes
    # 20 episodes of 9 steps, two numbers seen and eight hidden ones, in single precision
    assert many.peak_bytes > 4 * 20 * 9 * (2 + 8)
