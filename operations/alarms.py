"""Show the alarms of a stack: which of them ring, since when and why, and their runbooks."""

import sys
from collections.abc import Sequence

from operations.deployed import Deployed, parser, run

# What is to be looked at first.
_ORDER = ("ALARM", "INSUFFICIENT_DATA", "OK")


def show(stack: Deployed) -> None:
    names = stack.resources("AWS::CloudWatch::Alarm")
    pages = stack.client("cloudwatch").get_paginator("describe_alarms")
    alarms = {
        alarm["AlarmName"]: alarm
        for page in pages.paginate(AlarmNamePrefix=f"{stack.name}-")
        for alarm in page["MetricAlarms"]
    }
    by_name = {name: alarms[full] for name, full in names.items() if full in alarms}
    for name, alarm in sorted(
        by_name.items(), key=lambda item: (_ORDER.index(item[1]["StateValue"]), item[0])
    ):
        since = alarm["StateUpdatedTimestamp"]
        print(f"{alarm['StateValue']:17} {name:28} since {since:%Y-%m-%d %H:%M:%S %Z}")
        if alarm["StateValue"] == "ALARM":
            print(f"{'':18}{alarm['AlarmDescription']}\n{'':18}{alarm['StateReason']}")


def main(arguments: Sequence[str]) -> int:
    return run(show, parser("make alarms", __doc__).parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
