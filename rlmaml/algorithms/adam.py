"""Adam as a function: its moments go in and come out as values."""

import torch
from torch.optim.adam import adam as adam_step

from rlmaml.core.types import Params

MOMENTS = ("exp_avg", "exp_avg_sq")


def init_adam(params: Params) -> Params:
    """Moments of 0, and no step taken."""
    zeros = {f"{moment}/{name}": torch.zeros_like(p) for moment in MOMENTS for name, p in params.items()}
    return {"step": torch.zeros(()), **zeros}


def adam(params: Params, gradient: Params, state: Params, rate: float) -> tuple[Params, Params]:
    """One step of torch's Adam, with its state as a value (arXiv 1412.6980).

    The function is called that torch's class calls: the class loads torch's compiler, which takes a second, and leaves
    a folder and a variable of the environment behind.
    """
    leaves = {name: tensor.detach().clone() for name, tensor in params.items()}
    first, second = ([state[f"{moment}/{name}"].clone() for name in leaves] for moment in MOMENTS)
    with torch.no_grad():
        adam_step(
            *(list(leaves.values()), [gradient[name] for name in leaves], first, second, []),
            [state["step"].clone() for _ in leaves],
            foreach=False,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
    moments = zip(MOMENTS, (first, second), strict=True)
    after = {f"{moment}/{name}": own for moment, all_own in moments for name, own in zip(leaves, all_own, strict=True)}
    return leaves, {"step": state["step"] + 1, **after}
