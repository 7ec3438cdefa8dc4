"""What tests of .tflite files may use: the writers in tests/edgetpu_double."""

import os
import sys

_TESTS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.append(os.path.join(_TESTS, "edgetpu_double"))
