"""The parts of the training loop: schedule, optimiser, one step, several processes, checkpoints."""
