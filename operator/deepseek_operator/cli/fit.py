"""``deepseek-operator fit``: the memory of one device of a group, for a split that one names oneself."""
