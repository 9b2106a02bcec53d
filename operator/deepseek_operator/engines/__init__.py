"""Engines: from a plan to what a container runs, as plain data."""
