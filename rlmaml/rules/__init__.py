"""Inner rules: how task parameters change between stages, and how they are seen from theta."""
