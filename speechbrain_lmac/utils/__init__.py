"""What every room stands on: checks, hyperparameters, runs, checkpoints."""
