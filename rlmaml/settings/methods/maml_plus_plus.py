"""Settings of MAML++: those of MAML, each of whose parts can be switched off."""

from rlmaml.settings.methods.maml_trpo import MAML_TRPO

MAML_PLUS_PLUS = MAML_TRPO._replace(
    name="maml++",
    summary="MAML++: learned sizes, all stages count at first, first order first, a cosine (arXiv 1810.09502)",
    module="rlmaml.algorithms.maml_plus_plus",
    defaults={
        "learn_step_sizes": True,
        "anneal_stage_weights": 50,
        "first_order": False,
        "first_order_until": 20,
        "cosine_iterations": 100,
    },
)
