"""The messages of the kubelet's DevicePlugin API, built from their description instead of generated code.

The source is ``pkg/apis/deviceplugin/v1beta1/api.proto`` of k8s.io/kubelet v0.37.2: names and numbers of fields
are its. Messages of calls that this plugin does not offer are left out.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

VERSION: Final = "v1beta1"
SOCKETS: Final = Path("/var/lib/kubelet/device-plugins")
"""Fixed in the kubelet, whatever its --root-dir: ``pluginapi.DevicePluginPath``."""
SERVICE: Final = f"{VERSION}.DevicePlugin"
REGISTRATION: Final = f"{VERSION}.Registration"

_Field = descriptor_pb2.FieldDescriptorProto
_STRING, _BOOL, _INT64 = _Field.TYPE_STRING, _Field.TYPE_BOOL, _Field.TYPE_INT64

# Message → its fields: name, number, type (a scalar's or another message's name), repeated.
_MESSAGES: Final[dict[str, tuple[tuple[str, int, Any, bool], ...]]] = {
    "Empty": (),
    "DevicePluginOptions": (
        ("pre_start_required", 1, _BOOL, False),
        ("get_preferred_allocation_available", 2, _BOOL, False),
    ),
    "RegisterRequest": (
        ("version", 1, _STRING, False),
        ("endpoint", 2, _STRING, False),
        ("resource_name", 3, _STRING, False),
        ("options", 4, "DevicePluginOptions", False),
    ),
    "NUMANode": (("ID", 1, _INT64, False),),
    "TopologyInfo": (("nodes", 1, "NUMANode", True),),
    "Device": (
        ("ID", 1, _STRING, False),
        ("health", 2, _STRING, False),
        ("topology", 3, "TopologyInfo", False),
    ),
    "ListAndWatchResponse": (("devices", 1, "Device", True),),
    "ContainerAllocateRequest": (("devices_ids", 1, _STRING, True),),
    "AllocateRequest": (("container_requests", 1, "ContainerAllocateRequest", True),),
    "ContainerAllocateResponse": (("envs", 1, "ContainerAllocateResponse.EnvsEntry", True),),
    "AllocateResponse": (("container_responses", 1, "ContainerAllocateResponse", True),),
}


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="deviceplugin.proto", package=VERSION, syntax="proto3")
    for name, fields in _MESSAGES.items():
        described = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            added = described.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                added.type = _Field.TYPE_MESSAGE
                added.type_name = f".{VERSION}.{kind}"
            else:
                added.type = kind
    # map<string, string> envs = 1: on the wire, repeated entries of key and value.
    owner = next(each for each in file.message_type if each.name == "ContainerAllocateResponse")
    entry = owner.nested_type.add(name="EnvsEntry")
    entry.options.map_entry = True
    for number, field in enumerate(("key", "value"), start=1):
        entry.field.add(name=field, number=number, label=_Field.LABEL_OPTIONAL, type=_STRING)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


@cache
def message(name: str) -> Any:
    """Return the class of a message."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{VERSION}.{name}"))
