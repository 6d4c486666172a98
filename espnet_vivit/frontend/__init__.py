"""BATCH → FEATURES: the visual frontends (vivit_encoder, resnet, linear) and the audio frontends (resnet1d, logmel)."""
