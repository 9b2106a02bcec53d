"""Measurements with a limit: each prints a table and fails when it is over."""
