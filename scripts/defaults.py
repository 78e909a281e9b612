"""Tuned settings of each task family, in one place; RESULTS.md says what they reach."""

from collections.abc import Callable
from typing import Any

from rlmaml.settings.methods.registry import DEFAULT_METHOD
from rlmaml.settings.whole import Settings, as_method, configure

NAVIGATION = configure(
    env_id="Navigation2D-v0",
    iterations=100,
    inner_steps=3,
    inner_step_sizes=(0.5, 0.25, 0.25),
    learn_step_sizes=True,
    inner_loss="likelihood_ratio",
    stage_weights=(0.0, 2.0, 2.0, 1.0),
    gae_lambda=0.97,
    max_kl=0.02,
    jacobian_fraction=0.25,
)
"""2-D navigation: a policy that is good after one step and goes on improving.

The credit that ``likelihood_ratio`` gives to what is sampled before a step keeps the policy exploring until it has
adapted; with ``log_likelihood`` its standard deviation shrinks early, and the first step suffers.
"""

TO_A_GOAL = NAVIGATION.changed(inner_reward_power=2.0, inner_advantage_scale=2.0)
"""Rewards of minus the distance to a goal: on their squares an inner step goes as far as the goal is."""

LOCOMOTION = configure(
    num_tasks=20,
    num_episodes=20,
    inner_steps=2,
    inner_step_sizes=(0.1, 0.05),
    learn_step_sizes=True,
    inner_loss="likelihood_ratio",
    stage_weights=(0.0, 2.0, 1.0),
    hidden=(100, 100),
    initial_std=0.5,
    gae_lambda=0.97,
    max_kl=0.03,
    evaluation_episodes=20,
)
"""Every robot family, unless its own entry below says otherwise."""

SPEED = LOCOMOTION.changed(
    inner_steps=3,
    inner_step_sizes=(0.1, 0.1, 0.1),
    stage_weights=(0.0, 1.0, 1.0, 1.0),
    initial_std=0.4,
    advantage_scale=3.0,
)
"""Target speeds: how far off a task is says how far to go, so advantages keep one scale over all tasks."""

CHEETAH_SCALES = (0.1, *[0.3] * 7, 2.0, 1.0, 2.0, *[5.0] * 6)
"""Of a half-cheetah's 17 observations: height, pitch and joint angles in m and rad, then their rates."""

SHORT = LOCOMOTION.changed(
    inner_steps=1,
    inner_step_sizes=(0.1,),
    stage_weights=(0.0, 1.0),
    hidden=(64, 64),
    initial_std=0.2,
    gae_lambda=0.9,
    max_kl=0.05,
    jacobian_fraction=1.0,
    cg_iterations=5,
    observation_scales=CHEETAH_SCALES,
)
"""Half-cheetahs with episodes of 100 longer steps, and one inner step, as in arXiv 1810.06784.

A control step of 0.05 s is five of ``finn2017``'s, so credit goes back over fewer of them: lambda is smaller. An action
is held as much longer, so the same noise disturbs a gait more: the standard deviation is smaller, too.
"""

TO_A_SPEED = SHORT.changed(advantage_scale=3.0, damping=0.1, inner_reward_power=2.0, inner_advantage_scale=10.0)
"""Rewards of minus a speed's error and a cost: on their squares an inner step goes as far as the speed is off."""

WALKER_SCALES = (1.0, 0.3, *[0.5] * 6, 3.0, 1.0, 3.0, *[5.0] * 6)
"""Of a walker's 17 observations: height, pitch and joint angles in m and rad, then their rates."""

ANT_SCALES = (
    *(5.0, 5.0, 0.2, *[0.3] * 4, *[0.5] * 8),  # x, y, height in m; quaternion; joint angles in rad
    *([1.0] * 3 + [2.0] * 3 + [4.0] * 8),  # speeds in m/s and rad/s, joint rates in rad/s
    *([1.0] * 84 + [0.5] * 9),  # clipped contact forces in N and N m; rotation matrix
    *(5.0, 5.0, 0.2),  # centre of mass in m
)
"""Of the 125 observations of ``finn2017``'s ant."""

ANT = LOCOMOTION.changed(
    inner_steps=1,
    inner_step_sizes=(0.1,),
    stage_weights=(0.0, 1.0),
    max_kl=0.05,
    observation_scales=ANT_SCALES,
)
"""``finn2017``'s ant: one inner step, because a step of its physics costs as much as five of a half-cheetah's."""

PARTS = as_method(LOCOMOTION, DEFAULT_METHOD, "multimodal").changed(
    inner_steps=1,
    inner_step_sizes=(0.1,),
    stage_weights=(0.0, 1.0),
    num_episodes=10,
    hidden=(64,),
    part_scales=(1.0, 2.0, 20.0),
    max_kl=0.05,
    cg_iterations=10,
    jacobian_fraction=0.25,
)
"""A rover of several parts of an observation: a picture, ranges in m and wheel speeds in rad/s."""

KINDS = ("dead", "inverted", "swapped", "offset")
CHANGES = ("damaged", "any", *KINDS, *(f"any_but_{kind}" for kind in KINDS))
"""Variants in which every task's robot has changed."""

NOT_ADAPTING = SHORT.changed(inner_steps=0, learn_step_sizes=False, stage_weights=(1.0,))

TUNED: dict[tuple[str, str], Settings] = {
    ("Navigation2D-v0", "finn2017"): TO_A_GOAL,
    ("Navigation2D-v0", "rothfuss2019"): NAVIGATION,
    ("Navigation2D-v0", "dynamics"): NAVIGATION,
    ("AntDir-v0", "finn2017"): ANT,
    ("AntVel-v0", "finn2017"): ANT.changed(advantage_scale=3.0),
    ("HalfCheetahDir-v0", "rothfuss2019"): SHORT.changed(iterations=150),
    ("HalfCheetahVel-v0", "finn2017"): SPEED.changed(iterations=200),
    ("HalfCheetahVel-v0", "rothfuss2019"): TO_A_SPEED,
    ("HalfCheetahVel-v0", "raghu2020"): SHORT.changed(advantage_scale=3.0, iterations=20),
    ("RoverGoal-v0", "modalities"): PARTS,
    ("HalfCheetahChanged-v0", "intact"): NOT_ADAPTING,
    ("HalfCheetahChanged-v0", "unchanged"): NOT_ADAPTING,
    **{("HalfCheetahChanged-v0", variant): SHORT for variant in CHANGES},
}
"""(Environment id, variant) -> settings that were tried and that RESULTS.md reports on."""

BY_ADAM: dict[str, Any] = {"outer_optimiser": "adam", "learn_step_sizes": True, "evaluation_steps": 10}
"""What all supervised trainings begin from."""

SINUSOID = configure(
    **BY_ADAM,
    env_id="sinusoid",
    adam_step_size=2e-3,
    max_gradient_norm=10.0,
    iterations=4500,
    cosine_iterations=4500,
    num_tasks=25,
    inner_steps=2,
    inner_step_sizes=(0.02,),
    stage_weights=(0.0, 1.0, 1.0),
    hidden=(80, 80),
    evaluation_tasks=1000,
    checkpoint_interval=500,
    threads=1,
)
"""Sine waves, with a model twice as wide as the papers', and smooth as waves are.

With the papers' ReLU and one inner step in the training, the mean squared error after ten steps stayed at 0.10; with
tanh and two steps it is 0.05.
"""

FEW_SHOT = configure(
    **BY_ADAM,
    policy="conv4",
    env_id="few-shot",
    adam_step_size=1e-3,
    iterations=1000,
    num_tasks=4,
    inner_steps=2,
    inner_step_sizes=(0.1,),
    evaluation_tasks=600,
    checkpoint_interval=100,
    threads=1,
)
"""Pictures of classes."""

IMITATION = configure(
    **BY_ADAM,
    env_id="imitation",
    adam_step_size=1e-3,
    max_gradient_norm=10.0,
    iterations=1000,
    cosine_iterations=1000,
    num_tasks=20,
    inner_steps=3,
    inner_step_sizes=(0.1,),
    hidden=(100, 100),
    evaluation_tasks=40,
    checkpoint_interval=100,
)
"""Demonstrations of a robot."""

DYNAMICS = configure(
    **BY_ADAM,
    env_id="dynamics",
    adam_step_size=2e-3,
    max_gradient_norm=10.0,
    iterations=1000,
    cosine_iterations=1000,
    num_tasks=10,
    inner_steps=3,
    inner_step_sizes=(0.2,),
    stage_weights=(0.0, 1.0, 1.0, 1.0),
    hidden=(128, 128),
    evaluation_tasks=100,
    checkpoint_interval=100,
)
"""Transitions of a robot."""

RECOMMENDER = configure(
    **BY_ADAM,
    policy="embedded",
    env_id="recommender",
    adam_step_size=3e-3,
    max_gradient_norm=10.0,
    iterations=400,
    cosine_iterations=400,
    num_tasks=32,
    adapt="head",
    inner_steps=3,
    inner_step_sizes=(0.1,),
    stage_weights=(0.0, 1.0, 1.0, 1.0),
    evaluation_tasks=1000,
    checkpoint_interval=100,
)
"""Ratings of users."""

MEMORY = {
    "hidden": (64, 64),
    "reward_scale": 4.0,
    "gae_lambda": 0.9,
    "outer_step_size": 4e-3,
    "iterations": 300,
    "cosine_iterations": 300,
}
"""Of a half-cheetah that runs: tuned on changed ones without dead motors, by one seed and up to 130 meta-iterations."""

CREDITED = {"exploration_credit": 0.01}
"""Of e-maml: with all of it theta learns to explore far and wide, and late to adapt."""
ALL_THE_WAY = {"outer_step_size": 1.0}
"""Of reptile, to the mean of the adapted parameters."""
HALF_CHEETAHS: dict[str, dict[str, Any]] = {
    "promp": {"outer_step_size": 3e-3},
    "maml-ppo": {"outer_step_size": 3e-3},
    "e-maml": CREDITED,
    "reptile": ALL_THE_WAY,
}
"""Step sizes found on their target speed ``rothfuss2019``; what e-maml and reptile have was found on navigation."""
SPEEDS = {"reward_scale": 2.0, "outer_step_size": 2e-3, "iterations": 600, "cosine_iterations": 600}
ANTS = {
    "gae_lambda": 0.97,
    "entropy_bonus": 0.003,
    "outer_step_size": 2e-3,
    "iterations": 200,
    "cosine_iterations": 400,
}
"""Half of a schedule: its end, which ``--resume --iterations 400`` reaches, was not tried."""

WALKERS = {
    "hidden": (64, 64),
    "observation_scales": WALKER_SCALES,
    "reward_scale": 4.0,
    "outer_step_size": 2e-3,
    "iterations": 300,
    "cosine_iterations": 300,
}


def with_and_without(memory: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of RL², and of what is left of it without a memory, which alone reads rewards."""
    return {"rl2": memory, "robust": {name: value for name, value in memory.items() if name != "reward_scale"}}


METHODS: dict[tuple[str, str], dict[str, dict[str, Any]]] = {
    ("Navigation2D-v0", "finn2017"): {
        "meta-sgd": {"max_kl": 0.05, "cosine_iterations": 100, "stage_weights": (0.0, 3.0, 1.0, 2.0)},
        "cavia": {"max_kl": 0.04, "cosine_iterations": 100},
        "anil": {"max_kl": 0.04, "cosine_iterations": 100},
        "maml++": {"max_kl": 0.04, "first_order_until": 0},
        "promp": {"outer_step_size": 3e-3, "cosine_iterations": 100},
        "maml-ppo": {"outer_step_size": 3e-3, "cosine_iterations": 100},
        "e-maml": CREDITED,
        "reptile": ALL_THE_WAY,
    },
    ("AntDir-v0", "finn2017"): with_and_without(ANTS),
    ("AntVel-v0", "finn2017"): with_and_without(ANTS),
    ("HalfCheetahVel-v0", "finn2017"): HALF_CHEETAHS,
    ("HalfCheetahVel-v0", "raghu2020"): HALF_CHEETAHS,
    ("HalfCheetahVel-v0", "rothfuss2019"): HALF_CHEETAHS | with_and_without(SPEEDS),
    ("HalfCheetahDir-v0", "finn2017"): HALF_CHEETAHS,
    ("HalfCheetahDir-v0", "rothfuss2019"): HALF_CHEETAHS | with_and_without(MEMORY),
    ("Walker2dParams-v0", "rakelly2019"): with_and_without(WALKERS),
    **{("HalfCheetahChanged-v0", variant): with_and_without(MEMORY) | {"rma": MEMORY} for variant in CHANGES},
}
"""(Environment id, variant) -> method -> what it has other than ``maml-trpo`` there, as RESULTS.md reports on.

A comparison gives every method as many environment steps, whatever meta-iterations are here.
"""


def tuned(env_id: str, variant: str, method: str = DEFAULT_METHOD) -> Settings:
    """The settings of a family's variant for a method: tuned ones, where there are such, or those of every robot.

    Tasks beyond a variant's training range have those of the variant.
    """
    from rlmaml_envs.family import BEYOND

    known = variant if (env_id, variant) in TUNED else variant.removesuffix(BEYOND)
    family = TUNED.get((env_id, known), LOCOMOTION).changed(env_id=env_id, variant=variant)
    changes = METHODS.get((env_id, known), {}).get(method, {})
    settings = as_method(family, method)
    if method == "robust" and family.advantages.inner_advantage_scale is None:  # fine-tuned as pretrained is
        settings = settings.changed(inner_advantage_scale=family.advantages.advantage_scale)
    return settings.changed(**changes)


SUPERVISED: dict[str, Settings] = {
    "sinusoid": SINUSOID,
    "few-shot": FEW_SHOT,
    "imitation": IMITATION,
    "dynamics": DYNAMICS,
    "recommender": RECOMMENDER,
}
"""Supervised family -> the settings that it begins from."""


def supervised(family: str) -> Callable[[str | None, str], Settings]:
    """A function from a variant, which is not asked for, and a method to the settings of a supervised family."""
    return lambda _, method: as_supervised(SUPERVISED[family], method)


def as_supervised(settings: Settings, method: str) -> Settings:
    """The settings of another method on the same supervised tasks, with Adam where these have no outer optimiser."""
    changed = as_method(settings, method)
    new = changed.has("outer_optimiser") and not settings.has("outer_optimiser")
    return changed.changed(outer_optimiser="adam") if new else changed
