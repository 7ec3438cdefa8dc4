"""Reading .tflite files, and what they must be."""
