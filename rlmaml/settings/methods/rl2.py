"""Settings of RL²: a memory that lives through a trial, trained by several epochs of PPO."""

from rlmaml.settings.inner import MemorySettings
from rlmaml.settings.methods.method import Method
from rlmaml.settings.methods.ppo import PpoSettings

RL2 = Method(
    name="rl2",
    summary="RL²: a memory lives through the episodes of a trial, trained by PPO (arXiv 1611.02779)",
    module="rlmaml.algorithms.rl2",
    inner=MemorySettings,
    outer=PpoSettings,
    policy="gru",
    defaults={
        "num_tasks": 64,
        "num_episodes": 2,
        "gae_lambda": 0.95,
        "advantage_scale": None,
        "inner_reward_power": 1.0,
        "inner_advantage_scale": None,
        "hidden": (64,),
        "memory": 96,
        "value_head": True,
        "initial_std": 0.4,
    },
)
