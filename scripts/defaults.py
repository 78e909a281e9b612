"""Tuned settings of each task family, in one place; RESULTS.md says what they reach."""

from rlmaml.config import TrainConfig

NAVIGATION = TrainConfig(
    env_id="Navigation2D-v0",
    iterations=150,
    inner_steps=3,
    inner_step_sizes=(0.5, 0.25, 0.25),
    learn_step_sizes=True,
    inner_loss="likelihood_ratio",
    stage_weights=(0.0, 2.0, 1.0, 1.0),
)
"""Credit to what is sampled before an inner step (likelihood_ratio) keeps the policy exploring until it has adapted."""
