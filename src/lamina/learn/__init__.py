"""The loop, the engine, optimizers, schedules and checkpoints. Knows no task."""
