"""Training of networks: building, data, fitting, prediction and ONNX export."""
