"""From an environment, or a recording, to episodes."""
