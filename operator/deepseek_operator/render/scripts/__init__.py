"""Programs that run inside init containers: standard library, and what the engine's image brings."""
