"""MAML-PPO: the meta-objective of MAML (arXiv 1703.03400), clipped as in PPO (arXiv 1707.06347, equation 7).

The meta-algorithm is that of :mod:`rlmaml.algorithms.promp`; the inner loss is ``log_likelihood``, whose second
derivative lacks what credits the policy for its exploration (arXiv 1810.06784, section 4).
"""

from rlmaml.algorithms.promp import meta_algorithm

__all__ = ["meta_algorithm"]
