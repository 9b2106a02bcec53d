"""Whole clusters as their labellers write them, with what must be seen of them."""

from tests.unit.plan.clusters import clouds, flawed, labelled, published

CLUSTERS = {**labelled.CLUSTERS, **clouds.CLUSTERS, **flawed.CLUSTERS, **published.CLUSTERS}
