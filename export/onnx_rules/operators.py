"""The ONNX operators that each parser of TensorRT knows.

Names from the tables of https://github.com/onnx/onnx-tensorrt, docs/operators.md, branches 8.2-GA, 8.5-GA, 8.6-GA
and 10.1-GA (those marked Y), and Reciprocal, for which 8.2-GA has an importer.
"""

_IN_8_2 = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu Clip Concat
Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal
Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool
GlobalMaxPool Greater GreaterOrEqual HardSigmoid Identity If ImageScaler InstanceNormalization IsNaN LRN LSTM LeakyRelu
Less LessOrEqual Log LogSoftmax Loop LpNormalization LpPool MatMul Max MaxPool Mean Min Mul Neg NonMaxSuppression Not
Or PRelu Pad ParametricSoftplus Pow QuantizeLinear RNN RandomUniform RandomUniformLike Range Reciprocal ReduceL1
ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape
Resize ReverseSequence Round ScaledTanh Scan Scatter ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Sinh Size
Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose
Unsqueeze Upsample Where
"""
_SINCE_8_5 = """
GridSample HardSwish MeanVarianceNormalization Mod NonZero OneHot RandomNormal RandomNormalLike RoiAlign Shrink Trilu
Xor
"""
_SINCE_8_6 = "GroupNormalization IsInf LayerNormalization"
_SINCE_10 = "CastLike DeformConv Gelu Hardmax Mish"


def _operators() -> dict[str, frozenset[str]]:
    known: set[str] = set()
    table = {}
    for version, names in (("8.2", _IN_8_2), ("8.5", _SINCE_8_5), ("8.6", _SINCE_8_6), ("10", _SINCE_10), ("11", "")):
        known.update(names.split())
        table[version] = frozenset(known)
    return table


OPERATORS = _operators()  # by version of TensorRT
