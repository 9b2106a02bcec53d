"""A build backend that only repeats what a source package says of itself.

``pip download`` asks a source package's build backend for its metadata before it keeps the file. vLLM's own would
import torch and look for a compiler. This one copies PKG-INFO, so that nothing of the package is executed.
"""

from __future__ import annotations

import shutil
from email.parser import Parser
from pathlib import Path


def get_requires_for_build_wheel(config_settings: object = None) -> list[str]:
    """Nothing is needed."""
    del config_settings
    return []


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: object = None) -> str:
    """PKG-INFO as METADATA; returns the directory's name (PEP 517)."""
    del config_settings
    said = Parser().parsestr(Path("PKG-INFO").read_text("utf-8"), headersonly=True)
    place = Path(metadata_directory, f"{said['Name'].replace('-', '_')}-{said['Version']}.dist-info")
    place.mkdir()
    shutil.copy("PKG-INFO", place / "METADATA")
    return place.name
