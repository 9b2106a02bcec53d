"""Programs of a child interpreter: an engine's own parser and checks, without the engine's dependencies.

Each is started by file name in an interpreter of its own, because releases share module names, and answers a JSON
object on standard input with one on standard output (`answer`).
"""
