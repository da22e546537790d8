"""Memory does not grow with the number of ids."""

from pathlib import Path

from benchmarks.posting import WAYS, run, running_sink


def test_100_000_ids_take_no_more_memory_than_1_000(tmp_path: Path) -> None:
    (engine,) = [way for way in WAYS if way.name == "engine"]
    with running_sink(tmp_path, core=None) as sink:
        few_mb, many_mb = (
            run(engine, sink, posts, warm_up=0).peak_mb for posts in (1_000, 100_000)
        )

    # An id alone takes some 70 bytes: 100,000 of them, kept, would take 7 MB.
    assert many_mb - few_mb < 5
