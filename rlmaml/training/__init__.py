"""The meta-training loop, and a training run in its directory."""
