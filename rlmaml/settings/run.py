"""Settings of a run: which problem, how much of it, and on what machine."""

import re
from dataclasses import dataclass

from rlmaml.settings.checks import free, require, require_kinds, require_not_negative, require_positive

MOST_THREADS = 1024
DEVICE = r"cpu|cuda(:[0-9]{1,4})?"


@dataclass(frozen=True)
class RunSettings:
    """Which problem, how much of it, and on what machine."""

    env_id: str = "Navigation2D-v0"
    """Task family, a registered environment id."""
    variant: str = "finn2017"
    """Which of the family's published definitions to use; NAME-beyond for its tasks beyond the training range."""
    seed: int = 0
    """Seed of all random streams; the same seed gives the same run, with any number of threads and processes."""
    iterations: int = free(100, counts=True)
    """Meta-iterations in total; a resumed run may raise it."""

    num_tasks: int = 20
    """Tasks per meta-iteration."""
    num_episodes: int = 20
    """Episodes per task before each inner step, and again after the last."""
    horizon: int | None = None
    """Steps after which an episode is cut; by default as many as the variant's data sheet says."""
    observe_task: bool = False
    """Add the task's parameters, scaled, to the observations: the oracle of the papers, which need not adapt."""
    start_from: str = ""
    """Directory of a finished run, a checkpoint or an adapted policy, whose network this run begins with, e.g. of the
    intact robot; its standard deviation begins at --initial-std all the same. Empty: a random network."""

    evaluation_tasks: int = free(40, counts=True)
    """Held-out tasks of the evaluation that ends the run."""
    evaluation_episodes: int = free(40, counts=True)
    """Episodes per step of that evaluation."""
    evaluation_steps: int = free(3, counts=True)
    """Inner steps of that evaluation."""
    checkpoint_interval: int = free(10)
    """Meta-iterations between checkpoints; there is always one at the end."""
    kept_checkpoints: int = free(2)
    """Checkpoints that are kept: the newest, and those before it, one of which serves where it is damaged."""
    validation_interval: int = free(0)
    """Meta-iterations between evaluations on validation tasks, as large as the one that ends the run; the checkpoint
    with the highest return after the last step, or the least loss on supervised tasks, is kept as best.safetensors. 0
    for none."""
    patience: int = free(10)
    """Meta-updates in a row after whose loss the training stops: lost are those of which a number is not finite, an
    inner step explodes, the standard deviation collapses or the replay differs, or whose line search finds nothing."""
    figure_interval: int = free(25)
    """Meta-iterations between figures in TensorBoard; 0 for none."""
    video_interval: int = free(50)
    """Meta-iterations between short videos in TensorBoard; 0 for none, and none where robots cannot be drawn."""

    device: str = free("cpu")
    """Where inner steps and meta-update are computed: cpu, cuda or cuda:N."""
    rollout_device: str = free("cpu")
    """Where the policy acts, beside the physics: cpu, cuda or cuda:N."""
    threads: int = free(2)
    """Threads of inner steps and meta-update."""
    rollout_threads: int = free(2)
    """Threads that step the physics inside a rollout; the policy, whose operations are small there, takes one."""

    def __post_init__(self) -> None:
        """Check every field against its legal range.

        Raises:
            UserError: names the option, what was received and what is legal.
        """
        require_kinds(self)
        for name in ("threads", "rollout_threads"):
            require(self, name, getattr(self, name) <= MOST_THREADS, f"at most {MOST_THREADS}")
        require_positive(
            self,
            "num_tasks num_episodes evaluation_tasks evaluation_episodes checkpoint_interval kept_checkpoints patience "
            "threads rollout_threads",
        )
        require_not_negative(
            self, "seed iterations evaluation_steps validation_interval figure_interval video_interval"
        )
        require(self, "horizon", self.horizon is None or self.horizon > 0, "a number above 0")
        for name in ("device", "rollout_device"):
            require(self, name, re.fullmatch(DEVICE, getattr(self, name)), "cpu, cuda or cuda:N")
