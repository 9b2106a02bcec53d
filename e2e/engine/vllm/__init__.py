"""vLLM as ``vllm serve`` starts it over several nodes with its own processes (``--nnodes``, headless followers)."""
