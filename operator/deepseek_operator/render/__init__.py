"""Kubernetes objects as plain dicts: one module a kind, pure, the same output for the same input."""
