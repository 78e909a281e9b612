"""What a run starts from: a policy that fits the environment, a rule, a meta-algorithm, and theta from the seed."""

import warnings
from pathlib import Path
from typing import Any

import torch

from rlmaml.algorithms.registry import make_meta_algorithm
from rlmaml.base.errors import UserError
from rlmaml.base.random_streams import RandomStreams
from rlmaml.base.torch_modes import ordinary_torch
from rlmaml.core.losses import is_likelihood
from rlmaml.core.policy import Policy
from rlmaml.core.task_sums import ALONE, TaskSums
from rlmaml.core.types import Examples, Meta, Params
from rlmaml.deploy.fit import fitting_policy
from rlmaml.policies.kinds import make_policy
from rlmaml.policies.sizes import Sizes, sizes_of
from rlmaml.rules.adaptation_rule import training_rule
from rlmaml.sampling.examples import SupervisedFamily
from rlmaml.sampling.rollout import TaskEnvironment
from rlmaml.settings.checks import option
from rlmaml.settings.supervised import check_source
from rlmaml.settings.whole import Settings
from rlmaml.storage.checkpoint import Checkpoint, check_entries
from rlmaml.storage.kept_checkpoints import policy_checkpoint
from rlmaml.training.train import Learned, MetaLearner


def sizes_in(env: Any, settings: Settings) -> Sizes:
    """Sizes of a policy for an environment made under these settings, or of a model for a supervised family."""
    if isinstance(env, SupervisedFamily):
        return env.sizes
    return sizes_of(env, extended=settings.run.observe_task)


def make_method(settings: Settings, env: Any, sums: TaskSums = ALONE) -> MetaLearner:
    """Policy, inner rule and meta-algorithm of some settings.

    Args:
        settings: of the run.
        env: the environment, whose observations and actions size the policy, or a supervised family.
        sums: this process's part of the tasks.

    Raises:
        UserError: the policy's kind is not known here, or does not fit the environment; or the method learns from
            episodes, and the family has examples, or the other way round.
    """
    check_source(settings, supervised=isinstance(env, SupervisedFamily))
    policy = make_policy(settings.policy, settings.network, sizes_in(env, settings))
    loss = env.loss if isinstance(env, SupervisedFamily) else None
    return MetaLearner(policy, training_rule(settings, policy, loss), make_meta_algorithm(settings), sums)


def check_predicts_distribution(settings: Settings, family: SupervisedFamily, policy: Policy, query: Examples) -> None:
    """Refuse a family whose loss is no negative log-likelihood of what the model says, where a natural gradient is due.

    Args:
        settings: of the run.
        family: of the tasks.
        policy: the model.
        query: of one task, on which it is looked at.

    Raises:
        UserError: names the option that asks for one, and the cure.
    """
    if settings.flat().get("outer_optimiser") != "trust_region":
        return
    params = {name: tensor.unsqueeze(0) for name, tensor in policy.init(0).items()}
    with torch.no_grad():
        said, _ = policy.unroll(params, query)
    distribution = type(said.distribution)(*(field[0] for field in said.distribution))
    if not is_likelihood(family.loss, distribution, Examples(*(field[0] for field in query))):
        raise UserError(
            f"--outer-optimiser is 'trust_region', whose natural gradient is that of a distribution; the loss of "
            f"{family.variant} is no negative log-likelihood of what the model says. Take adam."
        )


def warn_of_first_order(settings: Settings) -> None:
    """Warn where no meta-iteration takes the second derivative by which alone ``dice`` differs from log_likelihood.

    It is no refusal: a run that is resumed may have more meta-iterations.
    """
    inner, iterations = settings.inner, settings.run.iterations
    until = getattr(inner, "first_order_until", 0)
    if 0 < iterations <= until and inner.inner_loss == "dice":
        warnings.warn(
            f"--first-order-until is {until}, and --iterations {iterations}: this training takes no second derivative, "
            "by which alone --inner-loss dice differs. Take it sooner, or train for longer.",
            stacklevel=2,
        )


@ordinary_torch()
def begin(settings: Settings, method: MetaLearner) -> Learned:
    """What is known before the first meta-iteration; it follows from the settings alone.

    Raises:
        UserError: see :func:`trained_network`.
    """
    params = method.policy.init(RandomStreams(settings.run.seed).parameter_seed())
    if settings.run.start_from:
        params |= trained_network(settings, method.policy, params)
    meta = Meta(params, method.rule.rates(params))
    return Learned(meta, method.algorithm.init(meta))


def trained_network(settings: Settings, policy: Policy, fresh: Params) -> Params:
    """The weights of the run or policy at ``start_from``, without those that say how much actions vary.

    Raises:
        UserError: there is no run or policy, or its policy is another than ``fresh`` and the settings say.
    """
    start_from = settings.run.start_from
    checkpoint = policy_checkpoint(Path(start_from))
    ours, theirs = settings.flat(), checkpoint.settings.flat()
    for name in ("policy", *vars(settings.network)):
        if name != "initial_std" and theirs.get(name) != ours[name]:
            raise UserError(
                f"{option(name)} is {ours[name]}, but {theirs.get(name)} in {start_from}, where this run starts."
            )
    network = {name: tensor for name, tensor in fresh.items() if name not in policy.exploration}
    trained = {name: tensor for name, tensor in checkpoint.meta.params.items() if name not in policy.exploration}
    check_entries(trained, network, "", f"{settings.run.env_id}, {settings.run.variant}")
    return trained


def policy_in(checkpoint: Checkpoint, env: TaskEnvironment, variant: str) -> Policy:
    """Who acts by a checkpoint's parameters in an environment.

    Args:
        checkpoint: what was learned.
        env: where.
        variant: what it is of the checkpoint's family, for messages.

    Raises:
        UserError: the environment has other observations or actions than the training's, or the parameters are others.
    """
    settings = checkpoint.settings
    return fitting_policy(checkpoint, sizes_in(env, settings), f"{settings.run.env_id}, {variant}")
