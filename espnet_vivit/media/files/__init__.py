"""FILE → FRAMES and SAMPLES: containers, clocks, streams, video and audio files."""
