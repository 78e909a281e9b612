import pytest
import torch

from rlmaml.algorithms.maml_trpo import TrustRegionReport
from rlmaml.algorithms.rl2 import Rl2Report
from rlmaml.base.errors import NonFiniteError
from rlmaml.core.types import Meta
from rlmaml.training.guard import (
    SMALLEST_STD,
    CollapsedError,
    Lost,
    check_update,
    nothing_learned,
)
from tests.rlmaml.makers import gaussian_policy

POLICY = gaussian_policy()
META = Meta(POLICY.init(0), {"layer0.weight": torch.tensor([0.1])})


@pytest.mark.parametrize("where", ["params", "rates", "state"])
@pytest.mark.parametrize("wrong", [float("nan"), -float("inf")])
def test_what_a_meta_update_made_is_refused_where_it_is_not_finite(where: str, wrong: float) -> None:
    parts = {"params": dict(META.params), "rates": dict(META.rates), "state": {"moment": torch.zeros(2)}}
    check_update(POLICY, Meta(parts["params"], parts["rates"]), parts["state"], Lost())
    name = next(iter(parts[where]))
    tensor = parts[where][name].clone()
    tensor.view(-1)[-1] = wrong
    parts[where][name] = tensor
    with pytest.raises(NonFiniteError, match=rf"^{name} of the .* became NaN or infinite"):
        check_update(POLICY, Meta(parts["params"], parts["rates"]), parts["state"], Lost())


def test_an_update_with_a_number_to_report_that_is_none_is_refused() -> None:
    check_update(POLICY, META, {}, Rl2Report(kl=1.0))
    with pytest.raises(NonFiniteError, match=r"^kl of the report became NaN or infinite"):
        check_update(POLICY, META, {}, Rl2Report(kl=float("inf")))


def test_a_standard_deviation_of_one_action_that_collapses_is_refused() -> None:
    def with_std(std: float) -> Meta:
        return Meta(META.params | {"log_std": torch.tensor([1.0, std]).log()}, {})

    check_update(POLICY, with_std(1.1 * SMALLEST_STD), {}, Lost())
    with pytest.raises(CollapsedError, match="would have collapsed to 9e-06"):
        check_update(POLICY, with_std(0.9 * SMALLEST_STD), {}, Lost())


def test_nothing_is_learned_where_no_step_was_better_or_no_task_was_usable() -> None:
    none = TrustRegionReport(-1.0, -1.0, 0.0, 1.0, 0.0, 0.0, 10, False, 0.0, 0)
    assert "the line search found nothing better" in nothing_learned(none, 4)
    assert "no simulation was sound" in nothing_learned(Rl2Report(tasks_left_out=4), 4)
    assert not nothing_learned(Rl2Report(tasks_left_out=3), 4)  # Adam at its goal, or at a rate of 0
    assert not nothing_learned(none._replace(accepted=True), 4)
