"""The conventions by which the contract knows TensorRT's objects."""

RECEIVERS = {
    "trt": "trt",  # the module
    "tensorrt": "trt",
    "builder": "Builder",
    "config": "IBuilderConfig",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "parser_error": "ParserError",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
    "timing_cache": "ITimingCache",
    "layer": "ILayer",
    "tensor": "ITensor",
    "log": "ILogger",
    "logger": "ILogger",
}

# What a method or property gives, as far as its attributes are used.
RETURNS = {
    ("Builder", "create_network"): "INetworkDefinition",
    ("Builder", "create_builder_config"): "IBuilderConfig",
    ("Builder", "create_optimization_profile"): "IOptimizationProfile",
    ("Builder", "build_serialized_network"): "IHostMemory",
    ("Builder", "build_engine"): "ICudaEngine",
    ("INetworkDefinition", "get_layer"): "ILayer",
    ("INetworkDefinition", "get_input"): "ITensor",
    ("INetworkDefinition", "get_output"): "ITensor",
    ("ILayer", "get_input"): "ITensor",
    ("ILayer", "get_output"): "ITensor",
    ("ILayer", "precision"): "DataType",
    ("ILayer", "type"): "LayerType",
    ("ITensor", "dtype"): "DataType",
    ("OnnxParser", "get_error"): "ParserError",
    ("ParserError", "code"): "ErrorCode",
    ("IBuilderConfig", "create_timing_cache"): "ITimingCache",
    ("IBuilderConfig", "get_timing_cache"): "ITimingCache",
    ("ITimingCache", "serialize"): "IHostMemory",
    ("Runtime", "deserialize_cuda_engine"): "ICudaEngine",
    ("ICudaEngine", "create_execution_context"): "IExecutionContext",
    ("ICudaEngine", "create_engine_inspector"): "EngineInspector",
    ("ICudaEngine", "serialize"): "IHostMemory",
    ("ICudaEngine", "get_tensor_dtype"): "DataType",
    ("ICudaEngine", "get_tensor_mode"): "TensorIOMode",
    ("ICudaEngine", "get_binding_dtype"): "DataType",
    ("IExecutionContext", "engine"): "ICudaEngine",
}

EXTENSIONS = {"ILogger": {"take_errors"}}  # of our subclass in edgeseg/trt/library.py
BANNED = {"nptype": "fails under NumPy 1.24 in 8.4 and 8.5 (NVIDIA/TensorRT#2567); use a map keyed on dtype.name"}

# Parameters and properties that take a member of an enum, or bits made of one.
ENUM_PARAMETERS = {"flag", "flags", "pool", "device_type", "format", "feature", "severity", "dtype", "type"}
ENUM_PROPERTIES = {
    "flags",
    "profiling_verbosity",
    "default_device_type",
    "engine_capability",
    "hardware_compatibility_level",
    "precision",
    "dtype",
    "location",
}
