"""MAML++ (arXiv 1810.09502): MAML with a learned size per layer and step, and three schedules.

    J(θ) = Σ_k w_k(t) J_k(θ),   w_k(t) = (1 − a) / K + a w_k,   a = min(t / T, 1)   over the K stages after a step,

so that at meta-iteration t < T (``--anneal-stage-weights``) the policies after every inner step count; derivatives are
of first order before ``--first-order-until``; and the largest KL of a meta-update, or Adam's step size on query sets,
falls along a cosine over ``--cosine-iterations``. Each part is an option of its own, and without them all this is
``maml-trpo``. Of the paper's running batch statistics there are none: ``conv4`` has those of the examples at hand.
"""

from rlmaml.algorithms.maml_trpo import meta_algorithm

__all__ = ["meta_algorithm"]
