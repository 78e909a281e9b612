"""The mathematics: losses, returns, baseline, natural gradient, sums over tasks. No files, no run-wide settings."""
