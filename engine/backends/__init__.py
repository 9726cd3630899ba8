"""What runs the networks on a GPU beside torch: ONNX graphs of them, and TensorRT engines made of those."""
