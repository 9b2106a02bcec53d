"""The ConfigMap of ``spec.modelConfig``: read when a plan is to be made, never listed or watched.

A deployment that has its plan does not ask for it again: a change of the ConfigMap changes no group.
"""

from __future__ import annotations

from typing import Final

from deepseek_operator.api.resource import Spec
from deepseek_operator.control import kinds
from deepseek_operator.control.client import ApiError, KubeClient, NotFoundError
from deepseek_operator.lifecycle.records import ConfigRecord, DeploymentRecord

RETRY_SECONDS: Final = 15.0
"""Between two looks at a ConfigMap that is missing or wrong: no event tells that it was mended."""
_FORBIDDEN: Final = 403


async def read_model_config(client: KubeClient, deployment: DeploymentRecord, spec: Spec) -> ConfigRecord:
    """What stands there. Raises ApiError, UnreachableError: it cannot be read now."""
    named = spec.config_json
    if named is None:
        return ConfigRecord(text=None)
    try:
        found = await client.get(kinds.MODEL_CONFIG, deployment.namespace, named.name)
    except NotFoundError:
        return ConfigRecord(text=None)
    except ApiError as error:
        if error.status != _FORBIDDEN:
            raise
        return ConfigRecord(text=None, denied=True)
    return ConfigRecord(text=(found.get("data") or {}).get(named.key))
