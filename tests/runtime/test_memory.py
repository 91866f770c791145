"""How much memory is free, where the system says so."""

from pathlib import Path

import pytest

from jaxdnn.runtime import memory


def groups(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    2000 kB\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (MEMINFO, 2000 * 1024),
        (
            MEMINFO
            | {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/memory.max": "500000\n",
                "sys/fs/cgroup/a/memory.current": "300000\n",
                "sys/fs/cgroup/a/memory.stat": "anon 1\ninactive_file 1000\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
            },
            201000,
        ),
        (
            MEMINFO
            | {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": "10\n",
                "sys/fs/cgroup/memory.current": "20\n",
            },
            0,
        ),
        ({}, 2**30),
    ],
)
def test_free_memory_is_what_the_strictest_leaves(
    files: dict[str, str], expected: int, tmp_path: Path
) -> None:
    assert memory.host_free_bytes(groups(tmp_path, files)) == expected


def test_memory_of_a_device_with_an_account() -> None:
    class Device:
        def memory_stats(self) -> dict[str, int]:
            return {"bytes_limit": 100, "bytes_in_use": 30}

    assert memory.free_bytes(Device()) == 70
