"""Settings of what does not meta-learn: a policy for all tasks, one that is told the task, and one never trained.

Of policies for all tasks there are two: ``pretrained`` learns as ``maml-trpo`` does, ``robust`` as ``rl2`` and the
teacher of ``rma`` do, so that what either is behind them by is what adaptation brings, and no other optimiser's doing.
"""

from typing import Any

from rlmaml.settings.inner import InnerSettings
from rlmaml.settings.methods.maml_trpo import MAML_TRPO
from rlmaml.settings.methods.rl2 import RL2

NO_STEPS = {"inner_steps": 0}
ALONE: dict[str, Any] = {
    "learn_step_sizes": False,
    "step_sizes_per": "layer",
    "first_order": False,
    "first_order_until": 0,
    "adapt": "all",
    "adapt_std": False,
    "inner_l2": 0.0,
    "inner_kl": 0.0,
    "parameter_noise": 0.0,
    "stage_weights": (1.0,),
    "anneal_stage_weights": 0,
}

PRETRAINED = MAML_TRPO._replace(
    name="pretrained",
    summary="one policy trained over all tasks, without adaptation; fine-tuned where it is evaluated",
    module="rlmaml.algorithms.baselines",
    stands_for=NO_STEPS,
    defaults=ALONE,
)
ORACLE = PRETRAINED._replace(
    name="oracle",
    summary="one policy that is told the task and need not adapt",
    stands_for=NO_STEPS | {"observe_task": True},
    defaults=ALONE | {"evaluation_steps": 0},
)
RANDOM = PRETRAINED._replace(
    name="random",
    summary="a policy that was never trained; fine-tuned where it is evaluated",
    stands_for=NO_STEPS | {"iterations": 0, "entropy_bonus": 0.0},
)
AS_RL2 = {name: value for name, value in RL2.defaults.items() if not name.startswith("inner_")}
"""What ``rl2`` begins from, but for what its lack of inner steps asks: ``robust`` is fine-tuned by such."""
ROBUST = RL2._replace(
    name="robust",
    summary="one policy trained over all tasks as rl2 is, without its memory: domain randomisation (arXiv 1710.06537)",
    inner=InnerSettings,
    stands_for=NO_STEPS | {"memory": 0},
    defaults={**ALONE, **AS_RL2, "num_episodes": 4},
)
