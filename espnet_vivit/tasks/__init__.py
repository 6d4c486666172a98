"""What ESPnet2's trainer sees: the audio-visual task, its datasets and its preprocessing."""
