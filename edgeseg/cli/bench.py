"""`edgeseg bench`: FPS, latency and accuracy of a bundle on this machine."""

import argparse
import json
import sys
from typing import Any, Optional

from edgeseg.cli.options import add_runtime_options, positive
from edgeseg.datasets import open_dataset
from edgeseg.segmenter import Segmenter
from edgeseg.stream.atomic import write_atomic
from edgeseg.zoo import open_bundle

SUMMARY = "measure FPS, latency and accuracy on this machine"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle", nargs="?", help="bundle to measure: a file, or a name of `edgeseg zoo` (default: fcn8-camvid)"
    )
    parser.add_argument(
        "--camera", "--source", dest="source", metavar="SOURCE", help="what to run on (default: generated video)"
    )
    parser.add_argument("--data", metavar="DIR", help="labelled dataset: measure accuracy as well")
    parser.add_argument("--split", default="val", help="split of the dataset (default val)")
    parser.add_argument("--frames", type=positive, metavar="N", help="frames to run, and images to compare")
    parser.add_argument("--json", metavar="FILE", help="write the figures; - for standard output")
    parser.add_argument("--confusion", metavar="FILE.png", help="draw the confusion matrix (needs --data)")
    add_runtime_options(parser)


def run(args: argparse.Namespace) -> int:
    from edgeseg.bench.report import measure_speed, to_dict, to_lines

    bundle = open_bundle(args.bundle)
    accuracy = _accuracy(args, bundle)
    figures = to_dict(measure_speed(bundle, args.source, args.device, args.threads, args.frames), accuracy)
    figures["bundle"] = bundle.path
    text = json.dumps(figures, indent=1, sort_keys=True) + "\n"
    if args.json == "-":
        sys.stdout.write(text)
    else:
        print("\n".join(to_lines(figures)))
        if args.json:
            write_atomic(args.json, text.encode("utf-8"))
    return 0


def _accuracy(args: argparse.Namespace, bundle: Any) -> Optional[Any]:
    from edgeseg.bench.accuracy import measure_accuracy
    from edgeseg.bench.confusion import write_confusion_png
    from edgeseg.errors import UsageError

    if not args.data:
        if args.confusion:
            raise UsageError("--confusion needs labelled images", "add --data DIR")
        return None
    dataset = open_dataset(args.data)
    with Segmenter(bundle, args.device, args.threads) as segmenter:
        accuracy = measure_accuracy(segmenter, dataset, args.split, args.frames, _progress)
    if args.confusion:
        write_confusion_png(args.confusion, accuracy.confusion, dataset.classes)
    return accuracy


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\raccuracy: {} of {} images{}".format(done, total, "\n" if done == total else ""))
        sys.stderr.flush()
