"""Faults between the operator and a real API server: a proxy with rules, and the crash matrix built on it.

``proxy`` and ``rules`` are the instrument, ``matrix`` kills the operator at every write of every scenario
(``make faults``).
"""
