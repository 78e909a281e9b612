import pytest
import torch
from torch import Tensor

from rlmaml.algorithms.adam import init_adam
from rlmaml.algorithms.epochs import Schedule, adam_epochs, own_blocks
from rlmaml.base.errors import NonFiniteError
from rlmaml.core.task_sums import mean_over_usable
from rlmaml.core.types import Params
from tests.rlmaml.algorithms.cases import make_problem


def epoch_of(slope: float) -> Tensor:
    """Where one epoch of Adam leads from 0, on tasks whose losses all rise with this slope."""
    problem = make_problem("rl2")
    params = {"w": torch.zeros(4)}

    def losses(params: Params, tasks: Tensor) -> tuple[Tensor, Tensor]:
        each = (slope * params["w"]).sum().expand(len(tasks))
        return each, torch.zeros_like(each)

    learnt = adam_epochs(
        problem.learner,
        params,
        ["w"],
        init_adam(params),
        losses,
        mean=mean_over_usable(problem.learner.sums, [batch.valid for batch in problem.stages]),
        blocks=own_blocks(problem.learner, 4, 2),
        schedule=Schedule(epochs=1, minibatches=1, rate=0.1, largest_gradient=0.5),
    )
    return learnt.params["w"]


def test_a_long_gradient_is_cut_and_one_whose_length_overflows_is_refused() -> None:
    torch.testing.assert_close(epoch_of(1e3), torch.full((4,), -0.1), rtol=1e-4, atol=0)
    with pytest.raises(NonFiniteError, match="The loss or its gradient's norm became NaN or infinite"):
        epoch_of(3e19)
