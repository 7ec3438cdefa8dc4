"""Someone else's segmentation .tflite file becomes a bundle: `edgeseg import`."""
