"""DeepSeek-Infer, the demo of deepseek-ai/DeepSeek-V3: ``torchrun … generate.py`` on every node, no server."""
