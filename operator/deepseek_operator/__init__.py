"""Kubernetes operator for DeepSeek-V3/R1-class models over several accelerator nodes."""

from importlib.metadata import version

__version__ = version("deepseek-operator")
