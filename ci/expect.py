#!/usr/bin/env python3
"""Fails unless a run's summary.json says what is expected of it.

usage: expect.py SUMMARY pass
       expect.py SUMMARY fail CODE CAUSE

A pass is every request of the schedule sent and accepted, and every trace complete, but for what kills
that the scenario ordered took. A fail is exactly one finding of severity failure, with this code and
cause.
"""

import json
import sys


def main(path, verdict, *finding):
    with open(path, encoding="utf-8") as file:
        summary = json.load(file)
    requests, traces = summary["requests"], summary["traces"]
    failures = [(found["code"], found["cause"]) for found in summary["findings"] if found["severity"] == "failure"]
    expectations = {
        f"the verdict is {verdict}": summary["verdict"] == verdict,
        "every request of the schedule was accepted": 0 < requests["scheduled"] == requests["accepted"],
        f"the failures are {list(finding)}": failures == ([tuple(finding)] if finding else []),
        "every trace is complete": bool(finding)
        or traces["complete"] + traces["excused"] == traces["expected"] == requests["accepted"],
        "nothing is excused where nothing was killed": traces["excused"] == 0 or summary["lambda"]["killed"] > 0,
    }
    broken = [expectation for expectation, holds in expectations.items() if not holds]
    for expectation in broken:
        print(f"{path}: not so: {expectation}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    if len(sys.argv) not in (3, 5):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
