"""edgeseg verify: is the bundle still as good as its float network, and the Edge TPU as good as the CPU?"""

import argparse
import json
import sys
from typing import Any, Dict, List, Optional

from edgeseg.bundle import Bundle
from edgeseg.cli import missing_reason, require
from edgeseg.errors import EnvironmentFault, UsageError
from edgeseg.zoo import find_network, open_bundle

SUMMARY = "compare a bundle with its float network, and the Edge TPU with the CPU, as masks"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="a .edgeseg file, or a name of `edgeseg zoo`")
    parser.add_argument("--data", metavar="DIR", help="labelled dataset; without it: generated street scenes")
    parser.add_argument("--split", default="val", help="split of the dataset, default val")
    parser.add_argument(
        "--camera", "--source", dest="source", metavar="SOURCE", help="images of a source of `edgeseg run` instead"
    )
    parser.add_argument("--network", help="its float network; without it: the one in the box that it was made from")
    parser.add_argument("--frames", type=int, metavar="N", help="images at most: 101 of a dataset, else 20")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--device", default="auto", help="which Edge TPU: usb, pci, usb:1, :0 (default: any)")


def run(args: argparse.Namespace) -> int:
    """Verify; returns 0, or raises CheckFailed where a limit is not kept."""
    from edgeseg.frames import choose_frames

    bundle = open_bundle(args.bundle)
    frames = choose_frames(bundle.manifest.classes, args.data, args.split, args.source, args.frames)
    if bundle.manifest.target.backend == "edgetpu":
        return _verify_tpu(args, bundle, frames)
    if args.device != "auto":
        raise UsageError(
            "--device is for bundles for the Edge TPU; {} is for {}".format(bundle.path, bundle.manifest.target.name),
            "leave it out: such a bundle is compared on this machine's CPU",
        )
    require("verify")
    from edgeseg.export.quiet import import_tensorflow

    import_tensorflow()
    from edgeseg.export.verify import verify_bundle

    parity, accuracy = verify_bundle(bundle, args.network, frames, _log)
    if args.json:
        print(json.dumps({"ok": not parity.failures, "parity": parity._asdict(), "accuracy": accuracy}, indent=1))
    else:
        from edgeseg.cli.inspect import parity_lines

        print("\n".join(parity_lines(parity._asdict())))
    parity.require()
    return 0


def _verify_tpu(args: argparse.Namespace, bundle: Bundle, frames: Any) -> int:
    """Edge TPU against CPU and, where it is at hand, against the float network; the result goes into the bundle."""
    from edgeseg.segmenter import Segmenter
    from edgeseg.verify import compare, keep, tpu_device

    device = tpu_device(bundle, args.device)
    network = _float_network(args, bundle)
    with Segmenter(bundle, "cpu") as cpu, Segmenter(bundle, device) as tpu:
        _log("comparing the Edge TPU with the CPU on {} images ({})".format(frames.images, frames.title))
        found = compare(cpu, tpu, frames)
        parity = None
        if network is not None:
            from edgeseg.export.verify import compare_tpu

            parity = compare_tpu(network, tpu, frames, _log)
            found = found._replace(ok=found.ok and not parity.failures, float_parity=parity._asdict())
    try:
        keep(bundle, found)
    except EnvironmentFault as fault:
        _log("warning: the result is not kept in the bundle: {}".format(fault))
    if args.json:
        print(json.dumps({"ok": found.ok, "verification": found._asdict()}, indent=1))
    else:
        print("\n".join(verification_lines(found._asdict()) + ([] if parity else _told_parity(bundle))))
    found.require()
    if parity is not None:
        parity.require()
    return 0


def _float_network(args: argparse.Namespace, bundle: Bundle) -> Optional[Any]:
    """The float network that the bundle was made from; None where it or Keras is not at hand and not asked for."""
    if args.network is None:  # before TensorFlow is imported, which takes seconds
        made_from = bundle.manifest.provenance.get("network_sha256")
        if missing_reason("verify") or find_network(made_from) is None:
            return None
    require("verify")
    from edgeseg.export.quiet import import_tensorflow

    import_tensorflow()
    from edgeseg.export.verify import find_float_network

    try:
        return find_float_network(bundle, args.network)
    except UsageError:
        if args.network is not None:
            raise
        return None


def _told_parity(bundle: Bundle) -> List[str]:
    """What the bundle says of its CPU file, where the float network is not at hand."""
    told = bundle.manifest.parity
    if not told:
        return ["float network: not at hand, and the bundle has no parity with it"]
    from edgeseg.cli.inspect import parity_lines

    return ["float network: not at hand; of the file for the CPU the export said"] + _indented(parity_lines(told))


def verification_lines(told: Dict[str, Any]) -> List[str]:
    """A manifest's verification in a few lines. Free-form: every figure may be missing."""
    from edgeseg.cli.inspect import parity_lines, percent

    counted = told.get("counted")
    part = "" if counted in (None, 1) else ", where the CPU is sure: {} of the pixels".format(percent(counted))
    lines = [
        "masks of the Edge TPU and of the CPU agree by {} on {} images ({}){}".format(
            _three_digits(told.get("agreement")), told.get("images"), told.get("source"), part
        ),
        "worst image {}: {}; {} required".format(
            told.get("worst_image"),
            _three_digits(told.get("worst_agreement")),
            _three_digits(told.get("agreement_required")),
        ),
        "first stage that differs: {}".format(told.get("first_difference") or "none"),
    ]
    if told.get("logits_max_error") is not None:  # there are none where the network gives classes
        lines.append(
            "logits: winners agree by {}, largest difference {}".format(
                _three_digits(told.get("logits_agreement")), _three_digits(told["logits_max_error"])
            )
        )
    if told.get("miou_cpu") is not None:
        lines.append("mIoU {} CPU, {} Edge TPU".format(percent(told["miou_cpu"]), percent(told.get("miou_tpu"))))
    for name, ms in (("cpu", "cpu_ms"), ("tpu", "tpu_ms")):
        lines.append("inference: {} ms, {}".format(_three_digits(told.get(ms)), told.get(name)))
    if told.get("float_parity"):
        lines += ["float network against the Edge TPU"] + _indented(parity_lines(told["float_parity"]))
    return lines


def _indented(lines: List[str]) -> List[str]:
    return ["  " + line for line in lines]


def _three_digits(value: Any) -> str:
    return "{:.3f}".format(value) if isinstance(value, (int, float)) else "-"


def _log(text: str) -> None:
    print("edgeseg: " + text, file=sys.stderr)
    sys.stderr.flush()
