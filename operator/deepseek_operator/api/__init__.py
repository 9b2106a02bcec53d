"""The custom resource: its models, names, conditions and the CRD made from them."""
