"""A meta-trained policy in use: load, act, adapt, export. Imports no meta-update."""
