"""What the Edge TPU compiler prints: excerpts of real outputs, and the whole of those in the folder of real data."""

import pytest

from edgeseg.coral.compiler_log import Row, find_failure, parse_log

MIB = 1 << 20
LIMITATION = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
ONE_SUBGRAPH = "More than one subgraph is not supported"

# jveitchmichaelis/edgetpu-yolo, README
PARTIAL = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 3173 ms.

Input model: yolov5s-int8-224.tflite
Input size: 7.37MiB
Output model: yolov5s-int8-224_edgetpu.tflite
Output size: 8.34MiB
On-chip memory used for caching model parameters: 6.08MiB
On-chip memory remaining for caching model parameters: 0.00B
Off-chip memory used for streaming uncached model parameters: 1.70MiB
Number of Edge TPU subgraphs: 2
Total number of operations: 294
Operation log: yolov5s-int8-224_edgetpu.log

Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of the model will \
instead run on the CPU, which is slower.
Number of operations that will run on Edge TPU: 289
Number of operations that will run on CPU: 5

Operator                       Count      Status

RESIZE_NEAREST_NEIGHBOR        2          Mapped to Edge TPU
CONCATENATION                  1          Operation is otherwise supported, but not mapped due to some unspecified limitation
CONCATENATION                  17         Mapped to Edge TPU
STRIDED_SLICE                  13         Something that no version has said yet
Compilation child process completed within timeout period.
Compilation succeeded! 
"""  # noqa: E501, W291


def test_rows_sizes_and_counts():
    log = parse_log(PARTIAL)
    assert log.succeeded and log.version == "16.0.384591198"
    assert log.rows == (
        Row("RESIZE_NEAREST_NEIGHBOR", 2, "Mapped to Edge TPU"),
        Row("CONCATENATION", 1, LIMITATION),
        Row("CONCATENATION", 17, "Mapped to Edge TPU"),
        Row("STRIDED_SLICE", 13, "Something that no version has said yet"),
    )
    assert [row.mapped for row in log.rows] == [True, False, True, False]
    assert [row.size_matters for row in log.rows] == [False, True, False, False]
    assert (log.input_bytes, log.output_bytes) == (round(7.37 * MIB), round(8.34 * MIB))
    assert (log.cached_bytes, log.free_bytes, log.streamed_bytes) == (round(6.08 * MIB), 0, round(1.7 * MIB))
    assert (log.subgraphs, log.operators) == (2, 294)


@pytest.mark.parametrize(
    "text, count", [("0.00B", 0), ("96.00B", 96), ("18.00KiB", 18 << 10), ("7.67MiB", 8042578), ("1.50GiB", 1610612736)]
)
def test_units(text, count):
    assert parse_log(PARTIAL.replace("6.08MiB", text)).cached_bytes == count


def test_without_the_table():
    """As without -s (google-coral/edgetpu#211, version 14)."""
    head, _ = PARTIAL.split("\nOperator ")
    log = parse_log(head + "See the operation log file for individual operation details.\n")
    assert log.succeeded and log.rows == () and log.operators == 294


def test_the_log_file():
    """iwatake2222/EdgeTPU_Analysis; versions 14 to 16 write it the same way."""
    log = parse_log(
        "Edge TPU Compiler version 1.0.249710469\n"
        "Input: ./model_mobilenet_v2_w_fc_224x224x3.tflite\n"
        "Output: model_mobilenet_v2_w_fc_224x224x3_edgetpu.tflite\n"
        "\nOperator                       Count      Status\n"
        "\nMEAN                           1          Mapped to Edge TPU\n"
        "CONV_2D                        35         Mapped to Edge TPU\n"
    )
    assert log.version == "1.0.249710469" and not log.succeeded
    assert log.rows == (Row("MEAN", 1, "Mapped to Edge TPU"), Row("CONV_2D", 35, "Mapped to Edge TPU"))
    assert log.operators is None and log.cached_bytes is None


# google-coral/edgetpu#358: version 15 has no lines about its child process
VERSION_15 = """Edge TPU Compiler version 15.0.340273435

Model compiled successfully in 17 ms.

Input model: internal_err.tflite
Input size: 961.05KiB
Output model: internal_err_edgetpu.tflite
Number of Edge TPU subgraphs: 0
Total number of operations: 69
"""


def test_version_15():
    log = parse_log(VERSION_15)
    assert log.succeeded and log.subgraphs == 0 and log.operators == 69 and log.input_bytes == round(961.05 * 1024)


def test_co_compilation():
    """Several models at once (google-coral/edgetpu#518): the account is that of the last one."""
    second = VERSION_15[VERSION_15.index("Input model") :].replace("subgraphs: 0", "subgraphs: 1")
    log = parse_log(VERSION_15.replace("Model compiled", "Models compiled") + "\n" + second)
    assert log.succeeded and log.subgraphs == 1


SEARCH = """Edge TPU Compiler version 16.0.384591198
Searching for valid delegate with step 1
Try to compile segment with 135 ops
Started a compilation timeout timer of 180 seconds.
Compilation child process completed within timeout period.
Compilation failed! 
Try to compile segment with 134 ops
Intermediate tensors: Identity1
Started a compilation timeout timer of 180 seconds.
"""  # noqa: W291


def test_the_last_result_of_a_search_counts():
    assert parse_log(SEARCH + PARTIAL).succeeded and parse_log(SEARCH + PARTIAL).subgraphs == 2
    assert not parse_log(SEARCH).succeeded
    older = PARTIAL.replace("subgraphs: 2", "subgraphs: 1").replace("13         Some", "14         Some")
    log = parse_log(older + SEARCH + PARTIAL)
    assert log.subgraphs == 2 and log.rows[-1].number == 13
    assert not parse_log(PARTIAL + SEARCH).succeeded


def test_success_that_is_taken_back():
    """google-coral/edgetpu#400; the error may come first, as it is not buffered."""
    error = "Error opening file for writing: edgetpu/best-int8_edgetpu.tflite\n\nInternal compiler error. Aborting! \n"
    for text in (VERSION_15 + error, error + VERSION_15):
        assert not parse_log(text).succeeded
        assert "could not write" in find_failure(text).cause


def test_real_logs(shared_data):
    with open(shared_data("edgetpu-compiler-logs", "v16_sd_full.log"), encoding="utf-8") as file:
        log = parse_log(file.read())
    assert log.succeeded and log.subgraphs == 1 and log.operators == sum(row.number for row in log.rows) == 134
    assert all(row.mapped for row in log.rows) and log.rows[0] == Row("ADD", 12, "Mapped to Edge TPU")
    assert log.cached_bytes == round(3.86 * MIB) and log.streamed_bytes == 0
    with open(shared_data("edgetpu-compiler-logs", "v16_sda_partial.log"), encoding="utf-8") as file:
        log = parse_log(file.read())
    assert log.succeeded and log.subgraphs == 3 and log.operators == sum(row.number for row in log.rows) == 135
    assert [row for row in log.rows if not row.mapped] == [
        Row("CONCATENATION", 2, ONE_SUBGRAPH),
        Row("ADD", 1, ONE_SUBGRAPH),
    ]


@pytest.mark.parametrize(
    "text", ["", "\n", "sh: 1: edgetpu_compiler: not found", "\0\xff" * 50, "Operator Count Status"]
)
def test_what_is_no_log(text):
    log = parse_log(text)
    assert log.version == "" and not log.succeeded and log.rows == ()


IN_INTERPRETER = "Compilation failed: Model failed in Tflite interpreter. "
IN_INTERPRETER += "Please ensure model can be loaded/run in Tflite interpreter."


@pytest.mark.parametrize(
    "text, cause, fix, again, size_matters",
    [
        (
            "ERROR: Didn't find op for builtin opcode 'TRANSPOSE_CONV' version '4'. An older version of this builtin "
            "might be supported. Are you using an old TFLite binary with a newer model?\n\n"
            "ERROR: Registration failed.\n\nInvalid model: X\nModel could not be parsed\n",
            "TRANSPOSE_CONV in version 4",
            "edgeseg inspect FILE --target coral",
            False,
            False,
        ),
        (
            "ERROR: Op builtin_code out of range: 151. Are you using old TFLite binary with newer model?",
            "operator number 151",
            "older TensorFlow",
            False,
            False,
        ),
        ("Invalid model: X\nModel not quantized\n", "float tensors", "full-integer int8 with batch 1", False, False),
        ("Invalid model: X\nModel could not be parsed\n", "cannot parse", "export the network again", False, False),
        ("Internal compiler error. Aborting! \n", "internal compiler error", "--imgsz", True, True),
        (
            "ERROR: Restored original execution plan after delegate application failure.\n"
            "Compilation failed: Compilation failed due to large activation tensors in model.\n",
            "activations are too large",
            "--imgsz",
            False,
            True,
        ),
        ("Compilation timeout. This is usually caused by large activations.\n", "time limit", "--imgsz", False, True),
        (
            "ERROR: Encountered unresolved custom op: FlexErf.\n" + IN_INTERPRETER,
            "custom operator FlexErf",
            "leave the operator out",
            False,
            False,
        ),
        (
            "ERROR: Attempting to use a delegate that only supports static-sized tensors with a graph that has "
            "dynamic-sized tensors.\n" + IN_INTERPRETER,
            "dynamic size",
            "batch_shape=(1, H, W, 3)",
            False,
            False,
        ),
        (IN_INTERPRETER, "cannot run the file", "edgeseg inspect FILE --target coral", False, False),
        (
            "libc++abi: terminating with uncaught exception of type std::out_of_range: vector\nCompilation failed! \n",
            "it crashed (std::out_of_range: vector)",
            "--imgsz",
            True,
            True,
        ),
        (SEARCH, "no reason", "--imgsz", True, True),
        ("Edge TPU Compiler version 15.0.340273435\n", "no reason", "--imgsz", True, True),
    ],
)
def test_causes_of_failures(text, cause, fix, again, size_matters):
    failure = find_failure(text)
    assert cause in failure.cause and fix in failure.fix
    assert (failure.again, failure.size_matters) == (again, size_matters)
