"""Samples become insight: tidy frames, statistics, charts and one report. Nothing here starts a program."""
