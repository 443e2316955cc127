"""Analysis with model bundles: ONNX Runtime, no torch."""
