"""Meta-train a policy over a family of robot tasks, then adapt it to a new task from a handful of episodes.

Every noun of the training loop is a module; import what you need from there, for example
``from rlmaml.training.train import train``. Importing the package itself loads nothing heavy.
"""

__version__ = "0.1.0"
