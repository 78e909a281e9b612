"""Meta-updates: one paper, one file."""
