"""Programs behind ``make generate``."""
