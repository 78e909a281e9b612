"""What everything stands on: errors, files, threads, random streams. No torch module, no mathematics."""
