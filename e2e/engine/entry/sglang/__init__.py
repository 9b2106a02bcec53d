"""The package's name as commands know it; SGLang's own sources are elsewhere, for its parser only."""
