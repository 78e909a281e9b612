"""What does not meta-learn (arXiv 1703.03400, section 5.3): the baselines of the papers, and their upper bound.

    J(θ) = Σ_i J_i(θ),   without inner steps: multi-task learning by TRPO (arXiv 1502.05477).

``pretrained`` maximises it; ``oracle`` does for a policy that is told the task's parameters; ``random`` is theta as it
is drawn. It is the meta-algorithm of :mod:`rlmaml.algorithms.maml_trpo` without a step to look through.
"""

from rlmaml.algorithms.maml_trpo import meta_algorithm

__all__ = ["meta_algorithm"]
