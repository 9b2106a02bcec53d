"""First on PYTHONPATH inside the image: here ``python3 -m sglang.launch_server`` is found."""
