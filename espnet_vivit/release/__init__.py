"""MODEL → OTHERS: packages, model cards, merged adapters, ONNX."""
