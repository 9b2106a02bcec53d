"""Everything that is generated and checked in: the CRD, the chart's schema, ``manifests/install.yaml``."""
