"""Stand-ins for engines in tests on real nodes: real command lines, real processes, real sockets, no weights.

What an engine expects comes from its own sources and parser, and nothing from ``deepseek_operator``: a mistake of the
operator is not repeated here. Each has its bad manners, too. Faults come by signals to its processes or by
``STAND_IN_FAULTS`` (``faults``).

An engine is one package (``sglang``, ``vllm``): how its command line is read, what its ranks do when something ends
(``manners``), and its HTTP endpoints. What all share: ``rank`` (a process a device), ``ring`` (how they meet and
talk), ``node`` (the processes of a node), ``machine`` (what is asked of it), ``front`` and ``http``. A program that
the image starts lies under ``entry``.
"""
