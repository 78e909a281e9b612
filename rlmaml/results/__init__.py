"""Runs beside each other: comparison, report, benchmark, summary."""
