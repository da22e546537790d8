"""The example of the package's README does what it seems to do."""

import re
from pathlib import Path
from typing import Any

import management_api
from support.sink import Reply, Sink, http


def test_the_example_runs(sink: Sink) -> None:
    readme = (Path(management_api.__file__).parent / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    example, replaced = re.subn(r'"https://.*?"', f'"{sink.endpoint}"', example)
    assert replaced == 1
    sink.answer = lambda request: Reply(http(410 if request.connection_id == "b" else 200))
    forgotten: list[str] = []
    names: dict[str, Any] = {"connection_ids": "abc", "forget": forgotten.append}

    exec(example, names)  # noqa: S102 - the text is this repository's
    names["api"].close()

    assert forgotten == ["b"]
    assert sorted(request.connection_id for request in sink.received) == ["a", "b", "c"]
