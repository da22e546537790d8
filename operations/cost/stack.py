"""What the template and the functions' code say of what is paid for."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


class _Loader(yaml.SafeLoader):
    """Takes `!Ref` and the like for what stands behind them."""


def _behind(loader: yaml.Loader, _suffix: str, node: yaml.Node) -> Any:
    match node:
        case yaml.ScalarNode():
            return loader.construct_scalar(node)
        case yaml.SequenceNode():
            return loader.construct_sequence(node, deep=True)
        case _:
            raise TypeError("this template has no mapping behind a mark")


_Loader.add_multi_constructor("!", _behind)


@dataclass(frozen=True, slots=True)
class Stack:
    """What a stack has whether anybody uses it or not, and how large its functions are.

    Attributes:
        memory_gb: of each function, by its package.
        alarm_metrics: metrics that alarms look at, without and with tokens. One of several metrics
            is billed as so many alarms.
        dashboards: how many there are if they are wanted.
        metrics: names that the code counts or measures; each is one metric of CloudWatch.
        polled: queues that functions read.
    """

    memory_gb: dict[str, float]
    alarm_metrics: int
    alarm_metrics_with_tokens: int
    dashboards: int
    metrics: int
    polled: int


@cache
def stack() -> Stack:
    """Read the template and the code."""
    template = _Loader((ROOT / "template.yaml").read_text()).get_single_data()
    resources: list[dict[str, Any]] = list(template["Resources"].values())
    usual = template["Globals"]["Function"]["MemorySize"]

    def of(kind: str) -> list[dict[str, Any]]:
        return [each for each in resources if each["Type"] == kind]

    functions = [each["Properties"] for each in of("AWS::Serverless::Function")]
    alarms = of("AWS::CloudWatch::Alarm")
    counted = {
        name
        for path in (ROOT / "functions").rglob("*.py")
        for name in re.findall(r'(?:count|measure)\("(\w+)"', path.read_text())
    }
    with_tokens = sum(_metrics(each) for each in alarms)
    return Stack(
        memory_gb={
            each["Handler"].partition(".")[0]: each.get("MemorySize", usual) / 1024
            for each in functions
        },
        alarm_metrics=sum(_metrics(each) for each in alarms if "Condition" not in each),
        alarm_metrics_with_tokens=with_tokens,
        dashboards=len(of("AWS::CloudWatch::Dashboard")),
        metrics=len(counted),
        polled=len(of("AWS::Lambda::EventSourceMapping")),
    )


def _metrics(alarm: dict[str, Any]) -> int:
    several = alarm["Properties"].get("Metrics", ())
    return sum("MetricStat" in each for each in several) or 1
