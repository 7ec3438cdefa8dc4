"""The recorded APIs of TensorRT that tests hold our code and the test double to.

tests/edgeseg/trt/api has one file a version, written by make_oracle.py. No bindings of 8.2 (JetPack 4.6) can be had
as a package, so that version is 8.5.2 without LACKING_IN_8_2.
"""

import json
import os
from typing import Any, Dict

TESTS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
API_FOLDER = os.path.join(TESTS, "edgeseg", "trt", "api")
VERSIONS = ("8.2", "8.5.2", "8.6.1", "10.3.0", "11.4.0")

# What 8.5.2 has and 8.2 has not; read from python/src/infer/pyCore.cpp of NVIDIA/TensorRT, release/8.2.
# An empty tuple: the whole name.
LACKING_IN_8_2 = {
    "Builder": ("max_threads",),
    "BuilderFlag": ("ENABLE_TACTIC_HEURISTIC",),
    "DataType": ("UINT8",),
    "IBuilderConfig": (
        "get_memory_pool_limit",
        "set_memory_pool_limit",
        "get_preview_feature",
        "set_preview_feature",
    ),
    "ICudaEngine": (
        "get_tensor_bytes_per_component",
        "get_tensor_components_per_element",
        "get_tensor_dtype",
        "get_tensor_format",
        "get_tensor_format_desc",
        "get_tensor_location",
        "get_tensor_mode",
        "get_tensor_name",
        "get_tensor_profile_shape",
        "get_tensor_shape",
        "get_tensor_vectorized_dim",
        "is_shape_inference_io",
        "num_io_tensors",
    ),
    "IExecutionContext": (
        "execute_async_v3",
        "get_input_consumed_event",
        "get_max_output_size",
        "get_output_allocator",
        "get_tensor_address",
        "get_tensor_shape",
        "get_tensor_strides",
        "infer_shapes",
        "nvtx_verbosity",
        "persistent_cache_limit",
        "set_input_consumed_event",
        "set_input_shape",
        "set_output_allocator",
        "set_tensor_address",
        "temporary_allocator",
    ),
    "IOutputAllocator": (),
    "MemoryPoolType": (),
    "PreviewFeature": (),
    "Refitter": ("max_threads",),
    "Runtime": ("max_threads",),
    "TensorIOMode": (),
}


def load_oracle(version: str) -> Dict[str, Any]:
    """The API of `version`: {name: {"class": {...}} or {"enum": {...}} or {"function": ...}}; see make_oracle.py."""
    if version not in VERSIONS:
        raise ValueError("no oracle of TensorRT {}; there are {}".format(version, ", ".join(VERSIONS)))
    with open(os.path.join(API_FOLDER, "{}.json".format("8.5.2" if version == "8.2" else version))) as file:
        oracle: Dict[str, Any] = json.load(file)
    if version == "8.2":
        for name, members in LACKING_IN_8_2.items():
            for member in members:
                for kind in oracle[name].values():
                    del kind[member]
            if not members:
                del oracle[name]
    return oracle
