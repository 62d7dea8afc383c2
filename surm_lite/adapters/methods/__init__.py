"""One method of fine-tuning a file, and the registry of them all."""
