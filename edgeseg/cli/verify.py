"""edgeseg verify: is the bundle still as good as its float network?"""

import argparse
import json
import sys

SUMMARY = "compare a bundle with its float network, as masks"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="a .edgeseg file")
    parser.add_argument("--data", metavar="DIR", help="labelled dataset; without it: generated street scenes")
    parser.add_argument("--split", default="val", help="split of the dataset, default val")
    parser.add_argument("--network", help="its float network; without it: the one in the box that it was made from")
    parser.add_argument("--frames", type=int, metavar="N", help="images at most: 101 of a dataset, 20 generated ones")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Verify; returns 0, or raises CheckFailed where a limit is not kept."""
    from edgeseg.export.quiet import import_tensorflow

    import_tensorflow()
    from edgeseg.export.verify import VerifyRequest, verify_bundle

    request = VerifyRequest(args.bundle, args.network, args.data, args.split, args.frames)
    parity, accuracy = verify_bundle(request, lambda text: print("edgeseg: " + text, file=sys.stderr, flush=True))
    if args.json:
        print(json.dumps({"ok": not parity.failures, "parity": parity._asdict(), "accuracy": accuracy}, indent=1))
    else:
        from edgeseg.cli.inspect import parity_lines

        print("\n".join(parity_lines(parity._asdict())))
    parity.require()
    return 0
