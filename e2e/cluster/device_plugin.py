"""A device plugin for a kubelet: advertises devices that are not there, as the vendors' plugins do real ones.

``python -m e2e.cluster.device_plugin --resource nvidia.com/gpu=8`` in a node's mount namespace. It serves the
kubelet's DevicePlugin API v1beta1 on one socket a resource and registers again whenever the kubelet has restarted.
"""

from __future__ import annotations

import argparse
import sys
import threading
import uuid
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc

from e2e.cluster.device_plugin_api import (
    REGISTRATION,
    SERVICE,
    SOCKETS,
    VERSION,
    message,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

KUBELET: Final = "kubelet.sock"
POLL_SECONDS: Final = 1.0
CALL_SECONDS: Final = 10.0

# What the vendors' plugins give a container to say which devices are its own: NVIDIA/k8s-device-plugin README
# (DEVICE_LIST_STRATEGY=envvar); Ascend device-plugin; ROCm/k8s-device-plugin gives device files only.
VISIBLE: Final = {
    "nvidia.com/gpu": "NVIDIA_VISIBLE_DEVICES",
    "huawei.com/Ascend910": "ASCEND_VISIBLE_DEVICES",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A resource and its devices' names."""

    name: str
    devices: tuple[str, ...]

    @property
    def endpoint(self) -> str:
        """The file name of its socket."""
        return f"{self.name.replace('/', '_')}.sock"


class Plugin:
    """Answers the kubelet's calls for one resource."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.ended = threading.Event()

    def options(self, _request: Any, _context: grpc.ServicerContext) -> Any:
        """Nothing beyond the necessary is offered."""
        return message("DevicePluginOptions")()

    def list_and_watch(self, _request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """Tell the devices once: they never change; the stream stays open until the kubelet leaves."""
        device = message("Device")
        devices = [device(ID=name, health="Healthy") for name in self.resource.devices]
        yield message("ListAndWatchResponse")(devices=devices)
        while context.is_active() and not self.ended.wait(POLL_SECONDS):
            pass

    def allocate(self, request: Any, _context: grpc.ServicerContext) -> Any:
        """Give each container the names of its devices, where the vendor's plugin does."""
        answer = message("AllocateResponse")()
        variable = VISIBLE.get(self.resource.name)
        for asked in request.container_requests:
            given = answer.container_responses.add()
            if variable is not None:
                given.envs[variable] = ",".join(asked.devices_ids)
        return answer

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service as gRPC wants it."""
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        empty, request = message("Empty"), message("AllocateRequest")
        written = type(empty()).SerializeToString
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "GetDevicePluginOptions": unary(self.options, empty.FromString, written),
                "ListAndWatch": stream(self.list_and_watch, empty.FromString, _serialize),
                "Allocate": unary(self.allocate, request.FromString, _serialize),
            },
        )


def _serialize(answer: Any) -> bytes:
    written: bytes = answer.SerializeToString()
    return written


def serve(resource: Resource, *, folder: Path) -> grpc.Server:
    """Start answering on the resource's socket."""
    socket = folder / resource.endpoint
    socket.unlink(missing_ok=True)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers((Plugin(resource).handlers(),))
    server.add_insecure_port(f"unix://{socket}")
    server.start()
    return server


def register(resource: Resource, *, folder: Path) -> None:
    """Tell the kubelet of the resource; raises ``grpc.RpcError`` when it does not want it."""
    request = message("RegisterRequest")(version=VERSION, endpoint=resource.endpoint, resource_name=resource.name)
    with grpc.insecure_channel(f"unix://{folder / KUBELET}") as channel:
        call = channel.unary_unary(
            f"/{REGISTRATION}/Register",
            request_serializer=_serialize,
            response_deserializer=message("Empty").FromString,
        )
        call(request, timeout=CALL_SECONDS)


def run(resources: list[Resource], *, folder: Path = SOCKETS) -> None:
    """Serve for ever; a kubelet that starts removes all sockets, and then everything is done anew."""
    pause = threading.Event()
    servers: list[grpc.Server] = []
    known: tuple[int, ...] = ()
    while True:
        present = _identity(folder / KUBELET)
        # The kubelet's own socket is new, or one of ours was swept away.
        if present and (present != known or not all((folder / each.endpoint).exists() for each in resources)):
            for server in servers:
                server.stop(grace=None)
            try:
                servers = [serve(each, folder=folder) for each in resources]
                for each in resources:
                    register(each, folder=folder)
                    print(f"registered {each.name}: {len(each.devices)} devices", flush=True)
                known = present
            except grpc.RpcError as error:
                print(f"not registered yet: {error}", file=sys.stderr, flush=True)
        pause.wait(POLL_SECONDS)


def _identity(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    return (found.st_ino, found.st_ctime_ns)


def _resource(text: str) -> Resource:
    name, _, count = text.rpartition("=")
    if "/" not in name or not count.isdigit():
        raise argparse.ArgumentTypeError(f"{text}: expected DOMAIN/NAME=COUNT, such as nvidia.com/gpu=8")
    prefix = "GPU-" if name == "nvidia.com/gpu" else "device-"
    names = (uuid.uuid5(uuid.NAMESPACE_DNS, f"{index}.{name}") for index in range(int(count)))
    return Resource(name=name, devices=tuple(f"{prefix}{each}" for each in names))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m e2e.cluster.device_plugin")
    parser.add_argument("--resource", type=_resource, action="append", required=True, metavar="DOMAIN/NAME=COUNT")
    run(parser.parse_args().resource)


if __name__ == "__main__":
    main()
