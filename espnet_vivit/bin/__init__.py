"""Command-line entry points with ESPnet's option names."""
