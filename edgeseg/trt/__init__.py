"""TensorRT on the board: build an engine from a bundle, keep it, check it, run it. TensorRT is imported on use.

Written against the names that TensorRT 8.2 to 11.4 have: where a version lacks one, the attribute is asked for,
never the version number. tests/edgeseg/trt/test_contract.py holds every name and arity to recorded APIs.
"""
