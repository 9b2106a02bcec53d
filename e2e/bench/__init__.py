"""Measurements; each prints what it saw and how it was seen."""
