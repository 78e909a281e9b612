"""The names that ``--algorithm`` takes: for each its paper, its settings, and what it stands for."""
