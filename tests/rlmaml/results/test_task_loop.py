import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.core.parameters import meta_vector
from rlmaml.families.images import FewShot
from rlmaml.families.sinusoid import Sinusoid
from rlmaml.results.task_loop import beside_loop, looped_iteration
from rlmaml.settings.whole import configure
from rlmaml.training.begin import begin, make_method
from rlmaml.training.train import meta_iteration
from tests.rlmaml.families.supervised import GREY, supervised

FAMILY = Sinusoid(shots=3, queries=4)


@pytest.mark.parametrize("inner_steps", [1, 3])
def test_one_pass_over_all_tasks_is_the_loop_over_tasks_to_rounding(unchecked: None, inner_steps: int) -> None:
    settings = supervised("maml-trpo", inner_steps=inner_steps, inner_step_sizes=(0.05, 0.02), num_tasks=4)
    method = make_method(settings, FAMILY)
    start = begin(settings, method)
    together, _ = meta_iteration(FAMILY, method, start, settings, 0)
    looped = looped_iteration(FAMILY, method, start, settings, 0)
    for name, moment in together.state.items():
        torch.testing.assert_close(looped.state[name], moment, rtol=1e-4, atol=1e-7)
    assert float((meta_vector(together.meta) - meta_vector(start.meta)).abs().max()) > 5e-4
    torch.testing.assert_close(meta_vector(looped.meta), meta_vector(together.meta), rtol=1e-4, atol=1e-5)


def test_pictures_in_one_pass_have_the_gradients_of_a_loop_over_tasks(unchecked: None) -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = {name: torch.randint(256, (6, 36), generator=generator).to(torch.uint8) for name in "abcd"}
    settings = configure("maml-trpo", "conv4", outer_optimiser="adam", filters=4, image=GREY, threads=1, num_tasks=3)
    settings = settings.changed(inner_step_sizes=(0.05,))
    assert beside_loop(FewShot("noise", pictures, ways=3, shots=2, queries=2), settings, 1)["difference"] < 1e-4


def test_what_the_loop_does_not_do_is_refused() -> None:
    with pytest.raises(UserError, match="The loop over tasks is that of MAML with given step sizes"):
        beside_loop(FAMILY, supervised("meta-sgd"), 1)


@pytest.mark.slow
def test_sine_waves_of_25_tasks_are_five_times_as_fast_as_in_a_loop(unchecked: None) -> None:
    settings = supervised("maml-trpo", hidden=(40, 40), inner_step_sizes=(0.01,), num_tasks=25)
    assert beside_loop(Sinusoid(shots=10, queries=10), settings, 20)["ratio"] >= 5
