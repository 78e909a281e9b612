"""How well a policy adapts, in numbers, figures and videos."""
