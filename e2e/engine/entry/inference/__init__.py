"""The folder that the demo runs in: its image has ``generate.py`` there."""
