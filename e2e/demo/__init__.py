"""The demonstration: a real control plane, fake accelerator nodes, and the operator at work."""
