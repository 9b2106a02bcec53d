"""What runs in Jobs and init containers: fetch, verify, cast and shard a model's weights.

Several gigabytes in one file, hours in one download, and a kill at any moment are the normal case here. The
rules that follow from it hold for every command:

* A file gets its final name only when its content is complete, checked and on the disk.
* ``.deepseek-weights.json``, the marker, comes last; it lists every file with size and SHA-256.
* What was finished before a kill is not done again (``.deepseek-weights/records``), and an interrupted download
  goes on at its last byte.
* One process writes to a directory; the others wait (:mod:`.lease`).

Optional packages (``deepseek-operator[weights]``) are imported only by the modules that need them.
"""
