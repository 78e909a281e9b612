"""The mathematics: losses, returns, baseline, inner rules, natural gradient. No files, no run-wide settings."""
