"""Command lines: `espnet-vivit`, and the stages of recipes with ESPnet's option names."""
