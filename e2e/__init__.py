"""Everything that runs against a cluster: the cluster itself, scenarios and benchmarks."""
