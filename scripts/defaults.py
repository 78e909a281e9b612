"""Tuned settings of each task family, in one place; RESULTS.md says what they reach."""

from rlmaml.config import TrainConfig

NAVIGATION = TrainConfig(
    env_id="Navigation2D-v0",
    iterations=100,
    inner_steps=3,
    inner_step_sizes=(0.5, 0.25, 0.25),
    learn_step_sizes=True,
    inner_loss="likelihood_ratio",
    stage_weights=(0.0, 2.0, 2.0, 1.0),
    gae_lambda=0.97,
    max_kl=0.02,
)
"""2-D navigation: a policy that is good after one step and goes on improving.

The credit that ``likelihood_ratio`` gives to what is sampled before a step keeps the policy exploring until it has
adapted; with ``log_likelihood`` its standard deviation shrinks early, and the first step suffers.
"""
