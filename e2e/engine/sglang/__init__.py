"""SGLang as ``python3 -m sglang.launch_server`` starts it."""
