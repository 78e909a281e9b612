"""Adam as a function: its moments go in and come out as values."""

import torch

from rlmaml.core.types import Params

MOMENTS = ("exp_avg", "exp_avg_sq")


def init_adam(params: Params) -> Params:
    """Moments of 0, and no step taken."""
    zeros = {f"{moment}/{name}": torch.zeros_like(p) for moment in MOMENTS for name, p in params.items()}
    return {"step": torch.zeros(()), **zeros}


def adam(params: Params, gradient: Params, state: Params, rate: float) -> tuple[Params, Params]:
    """One step of torch's Adam, with its state as a value (arXiv 1412.6980)."""
    leaves = {name: tensor.detach().clone() for name, tensor in params.items()}
    optimiser = torch.optim.Adam(list(leaves.values()), lr=rate, foreach=False)
    for name, leaf in leaves.items():
        leaf.grad = gradient[name]
        moments = {moment: state[f"{moment}/{name}"].clone() for moment in MOMENTS}
        optimiser.state[leaf] = {"step": state["step"].clone(), **moments}
    optimiser.step()
    after = {f"{moment}/{name}": optimiser.state[leaf][moment] for moment in MOMENTS for name, leaf in leaves.items()}
    return leaves, {"step": state["step"] + 1, **after}
