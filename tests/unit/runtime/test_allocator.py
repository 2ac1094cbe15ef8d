"""The allocator: few heaps, and large blocks go back."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import ctypes, sys, threading
from wgmesh_agent.runtime.allocator import bound_allocator
assert bound_allocator()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.fopen.restype = ctypes.c_void_p
barrier = threading.Barrier(8)

def hold():
    block = libc.malloc(1000)
    barrier.wait()
    libc.free(block)

threads = [threading.Thread(target=hold) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
for _ in range(2):
    blocks = [libc.malloc(4 << 20) for _ in range(2)]
    mapped = ctypes.c_size_t * 10
    libc.mallinfo2.restype = type("Info", (ctypes.Structure,), {"_fields_": [("all", mapped)]})
    hblkhd = libc.mallinfo2().all[4]
    for block in blocks: libc.free(block)
file = libc.fopen(sys.argv[1].encode(), b"w")
libc.malloc_info(0, ctypes.c_void_p(file))
libc.fclose(ctypes.c_void_p(file))
heaps = open(sys.argv[1]).read().count("<heap nr")
print(heaps, hblkhd >> 20)
"""

PAGES_IN_THE_MIDDLE = """
import ctypes
from wgmesh_agent.runtime.allocator import give_back
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20

blocks = [libc.malloc(64 << 10) for _ in range(1024)]
for block in blocks: libc.memset(block, 1, 64 << 10)
for block in blocks[:-1]: libc.free(block)
before = resident()
give_back()
print(before - resident())
"""


def run(path: object, **environment: str) -> tuple[int, int]:
    """How many heaps there are after eight threads, and how many MiB are mapped one by one after such were freed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    heaps, mapped = done.stdout.split()
    return int(heaps), int(mapped)


def test_threads_share_few_heaps_and_large_blocks_are_always_mapped_one_by_one(tmp_path: object) -> None:
    heaps, mapped = run(f"{tmp_path}/info.xml")
    assert heaps <= 2
    assert mapped >= 8


def test_what_the_environment_says_has_the_last_word(tmp_path: object) -> None:
    heaps, mapped = run(f"{tmp_path}/info.xml", MALLOC_ARENA_MAX="8", MALLOC_MMAP_THRESHOLD_=str(32 << 20))
    assert heaps > 2
    assert mapped < 8


def test_free_pages_in_the_middle_of_a_heap_are_given_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PAGES_IN_THE_MIDDLE], stdout=subprocess.PIPE, text=True, check=True, timeout=60
    )
    assert int(done.stdout) >= 48
