"""`edgeseg doctor`: check this machine."""

import argparse
import json

from edgeseg.doctor import examine
from edgeseg.errors import EnvironmentFault

SUMMARY = "check this machine: runtimes, OpenCV, cameras, space"

_MARKS = {"ok": "ok   ", "note": "note ", "fault": "FAULT"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the findings; exit code 3 if edgeseg cannot run here."""
    findings = examine()
    if args.json:
        print(json.dumps([finding._asdict() for finding in findings], indent=1))
    else:
        for finding in findings:
            print("{} {:<12} {}".format(_MARKS[finding.level], finding.subject, finding.text))
            if finding.fix:
                print("{:19}fix: {}".format("", finding.fix))
    return EnvironmentFault.exit_code if any(f.level == "fault" for f in findings) else 0
