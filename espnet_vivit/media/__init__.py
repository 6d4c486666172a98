"""FILE → FRAMES: decoding and encoding of video and audio files (no torch.nn, no ESPnet)."""
