"""The zoo of architectures: a name becomes a Keras network that keeps the network contract.

Contract: float image (N, H, W, 3) in [-1, 1] in, logits (N, H/s, W/s, classes) out, s the output
stride. No softmax, no argmax, no last upsampling: the device does these (edgeseg.postprocess).
"""

import keras

from edgeseg.models.backbone import mobilenet_v2
from edgeseg.models.fcn import fcn_logits
from edgeseg.models.spec import ARCHITECTURES, Architecture, NetworkSpec, check, sizes_that_fit
from edgeseg.models.spp import spp_logits

__all__ = ["ARCHITECTURES", "Architecture", "NetworkSpec", "build", "check", "sizes_that_fit"]


def build(spec: NetworkSpec) -> keras.Model:
    """Build the network for exactly `spec.imgsz`, with random weights.

    Raises UsageError for an unknown name, a width or a size that cannot be built, naming what can.
    """
    check(spec)
    image = keras.Input((*spec.imgsz, 3), name="image")
    features = mobilenet_v2(image, spec.width, spec.geometry)
    if spec.architecture == "spp":
        logits = spp_logits(features, spec.classes, spec.upsampling)
    else:
        logits = fcn_logits(features, spec.classes, spec.stride, spec.upsampling)
    network = keras.Model(image, logits, name=spec.architecture)
    return with_channels(network, dict(spec.channels)) if spec.channels else network


def copy_of(network: keras.Model) -> keras.Model:
    """The same layers with the same weights, as objects of their own."""
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    return copy


def with_channels(network: keras.Model, channels: dict[str, int]) -> keras.Model:
    """The same network, with random weights, and another number of outputs in the convolutions that are named."""
    config = network.get_config()
    for layer in config["layers"]:
        layer.pop("build_config", None)  # the shapes of the weights that the layer had
        if layer["name"] in channels:
            layer["config"]["filters"] = channels[layer["name"]]
    return keras.Model.from_config(config)
