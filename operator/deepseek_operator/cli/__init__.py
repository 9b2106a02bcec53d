"""The command line: what ``deepseek-operator`` does without, beside and as the operator."""
