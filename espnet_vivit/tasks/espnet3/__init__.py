"""Training as ESPnet3 does it: our data, model and preprocessing under its Lightning trainer; recipes in egs3/."""
