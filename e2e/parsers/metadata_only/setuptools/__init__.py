"""Stands for setuptools where a source package is fetched and not built; see `build_meta`."""
