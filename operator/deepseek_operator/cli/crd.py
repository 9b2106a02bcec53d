"""``deepseek-operator crd``: the CustomResourceDefinition, for ``kubectl apply --server-side -f -``."""

from __future__ import annotations

import sys

from deepseek_operator.api.crd import crd_yaml


def crd() -> None:
    """Print the CustomResourceDefinition."""
    sys.stdout.write(crd_yaml())
