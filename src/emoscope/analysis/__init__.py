"""A bundle at work: ONNX Runtime, no torch."""
