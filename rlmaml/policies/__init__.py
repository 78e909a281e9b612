"""Policy kinds: functions of a parameter dictionary to a distribution over actions."""
