"""Decisions about groups: pure functions from a snapshot to actions and status."""
