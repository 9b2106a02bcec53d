"""The only part that does I/O: kopf's streams, the cache, the queue, the writes, the Lease and the HTTP server."""
