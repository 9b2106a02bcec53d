"""Kubernetes objects as plain dicts: one module a kind, pure functions, the same output for the same input."""
