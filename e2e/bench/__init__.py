"""Measurements on the development cluster; each writes its page under docs/measurements/."""
