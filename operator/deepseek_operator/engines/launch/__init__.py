"""What runs inside the engine's container: the launch script's template and the programs embedded in it.

The Python modules here run with the engine image's own interpreter (3.10 or newer) and its standard library only;
none of them imports this package.
"""
