"""Planning: nodes and a spec in, a Plan or a Refusal out. Pure."""
