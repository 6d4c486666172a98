"""BATCH → FEATURES: the visual frontends (vivit_encoder, resnet, linear) and the audio frontend (resnet1d)."""
