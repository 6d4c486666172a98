"""ESPnet's trainer as ours: checkpoints, logs, warnings, what happens when memory runs out."""
