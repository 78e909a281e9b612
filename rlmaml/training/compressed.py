"""A smaller policy as a run of its own, which goes on from where the training of the whole one was."""

from rlmaml.algorithms.registry import make_meta_algorithm
from rlmaml.base.errors import UserError
from rlmaml.base.files import write_atomically
from rlmaml.base.lost_updates import LostUpdates
from rlmaml.base.plain_data import read_file
from rlmaml.base.torch_modes import ordinary_torch
from rlmaml.core.types import Meta
from rlmaml.deploy.adaptable import as_policy
from rlmaml.policies.smaller import carried_rates, factored_policy, pruned_policy, reducible
from rlmaml.rules.adaptation_rule import trained_rule
from rlmaml.settings.checks import check_count
from rlmaml.settings.policy import CompressionSettings
from rlmaml.storage.checkpoint import Checkpoint, save_checkpoint
from rlmaml.storage.metrics_file import sound_lines
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.storage.run_lock import sole_writer
from rlmaml.terminal.words import counted
from rlmaml.training.opening import check_openable


@ordinary_torch()
def compressed(checkpoint: Checkpoint, change: CompressionSettings, iterations: int | None = None) -> Checkpoint:
    """A run's checkpoint with a smaller policy, which its own training goes on with from the same meta-iteration.

    Learned rates are carried over; the meta-algorithm begins with a fresh state, such as Adam's moments.

    Args:
        checkpoint: of the run.
        change: what is done to it.
        iterations: further meta-iterations; a tenth of those it was trained for, but one at least, where None.

    Raises:
        UserError: not one of both changes is asked for, or it makes this policy no smaller; the policy has adapted, or
            is of a kind that cannot be made smaller.
    """
    change.check_given()
    if iterations is not None:
        check_count("iterations", iterations, 0)
    settings = checkpoint.settings
    if checkpoint.steps_taken:
        raise UserError(
            "The policy has adapted to a task, and its training, which fine-tunes the smaller one, cannot go on. Give "
            "the run it comes from, and let the smaller policy adapt."
        )
    policy = reducible(as_policy(checkpoint).network, settings.network, checkpoint.sizes)
    if change.low_rank is not None:
        smaller, params = factored_policy(policy, checkpoint.meta.params, change.low_rank)
    else:
        assert change.prune is not None
        smaller, params = pruned_policy(policy, checkpoint.meta.params, change.prune)
    further = max(1, checkpoint.iteration // 10) if iterations is None else iterations
    network = {"rank": smaller.settings.rank, "kept": smaller.settings.kept}
    settings = settings.changed(iterations=checkpoint.iteration + further, **network)
    fresh = trained_rule(settings, smaller).rates(params)
    meta = Meta(params, carried_rates(checkpoint.meta.rates, fresh, policy.kept, smaller.kept))
    state = make_meta_algorithm(settings).init(meta)
    return checkpoint._replace(meta=meta, settings=settings, state=state, lost=LostUpdates())


def begin_compressed(smaller: Checkpoint, source: RunDirectory, target: RunDirectory, *, overwrite: bool) -> None:
    """Write a run that begins with a smaller policy, and has the record of the training so far.

    Args:
        smaller: see :func:`compressed`.
        source: the run that it was made from.
        target: the new one.
        overwrite: delete the run that is found there.

    Raises:
        UserError: there is a run already, the record of the training so far is missing, or files cannot be written.
    """
    check_openable(target, resume=False, overwrite=overwrite)
    if target.path.resolve() == source.path.resolve():
        raise UserError(f"{target.path} is the run that is to be made smaller. Choose another --run-dir.")
    try:
        lines = sound_lines(read_file(source.metrics))[: smaller.iteration]
    except FileNotFoundError:
        lines = []
    if len(lines) < smaller.iteration:
        raise UserError(
            f"{source.metrics} tells of {len(lines)} of the run's {counted(smaller.iteration, 'meta-iteration')}. "
            "Restore it; without it no training can go on."
        )
    with sole_writer(target):
        if overwrite:
            target.clear()
        target.make()
        write_atomically(target.metrics, b"".join(lines))
        save_checkpoint(target.checkpoint, smaller)
