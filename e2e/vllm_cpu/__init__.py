"""A real engine for tests: vLLM's build for processors, with a model of DeepSeek-V3's architecture in miniature."""
