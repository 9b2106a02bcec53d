"""A stand-in for SGLang in tests on real nodes: real command lines, real processes, real sockets, no weights.

What it expects comes from SGLang's own sources and parser, and nothing from ``deepseek_operator``: a mistake of the
operator is not repeated here. It has SGLang's bad manners, too (``launch``); faults come by signals to its processes
or by ``STAND_IN_FAULTS`` (``faults``).
"""
