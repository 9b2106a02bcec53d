"""What is known of models, accelerators, engines and fabrics: YAML with a source for each figure."""
