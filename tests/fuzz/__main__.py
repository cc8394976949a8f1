"""The long run: every target in its turn, mutated where new code was reached (atheris).

    python -m tests.fuzz [--minutes 20] [--only TARGET]

A target runs in a process of its own, with limits of memory and of time for one input. What
breaks it is saved in fuzz-findings, and its path printed; the exit code is then 1.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from random import Random
from typing import NamedTuple

_FINDINGS = Path("fuzz-findings")
_SECONDS_AN_INPUT = 30  # a compilation by XLA is among it
_MEGABYTES = 4096
_TAIL = 40  # lines of a finding that are shown


class Result(NamedTuple):
    """How a target fared."""

    target: str
    executions: int
    seconds: int
    findings: list[str]


def main() -> int:
    """Runs what the arguments ask for."""
    if len(sys.argv) > 1 and sys.argv[1] == "--run":
        return _run(sys.argv[2], sys.argv[3:])
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--only", choices=TARGETS)
    given = parser.parse_args()
    names = [given.only] if given.only else list(TARGETS)
    seconds = max(1, round(given.minutes * 60 / len(names)))
    results = [_fuzz(name, seconds) for name in names]
    _print_table(results)
    return any(result.findings for result in results)


def _fuzz(name: str, seconds: int) -> Result:
    """Fuzzes a target in another process, which ends at its first finding."""
    from tests.fuzz.targets import CORPUS

    _FINDINGS.mkdir(exist_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        grown = Path(folder) / "corpus"
        shutil.copytree(CORPUS / name, grown)
        finished = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz", "--run", name, str(grown)),
                *(f"-max_total_time={seconds}", f"-timeout={_SECONDS_AN_INPUT}"),
                *(f"-rss_limit_mb={_MEGABYTES}", f"-artifact_prefix={_FINDINGS}/{name}-"),
                *("-print_final_stats=1", "-max_len=65536", "-len_control=0"),
            ],
            env={**os.environ, "TMPDIR": folder, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    found = re.findall(r"Test unit written to (\S+)", finished.stdout)
    if found:
        print(f"{name}:", *finished.stdout.splitlines()[-_TAIL:], sep="\n")
    elif finished.returncode:
        raise SystemExit(f"{name} did not run:\n{finished.stdout}")
    (executions,) = re.findall(r"stat::number_of_executed_units: (\d+)", finished.stdout)
    return Result(name, int(executions), round(time.monotonic() - began), found)


def _run(name: str, arguments: list[str]) -> int:
    """Becomes the fuzzer of a target; libFuzzer ends the process."""
    import atheris
    import jax  # noqa: F401  (it is not ours to measure)

    with atheris.instrument_imports(include=["jaxmlp"]):
        from tests.fuzz.targets import TARGETS, check

    warnings.simplefilter("error")

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        rng = Random(seed)
        if rng.randrange(4) == 0:
            return atheris.Mutate(data, max_size)
        return TARGETS[name].mutate(data, rng)[:max_size]

    def run(data: bytes) -> None:
        check(name, data)

    atheris.Setup([sys.argv[0], *arguments], run, custom_mutator=mutate)
    atheris.Fuzz()
    return 0


def _print_table(results: list[Result]) -> None:
    print(f"{'target':12}{'executions':>12}{'seconds':>10}{'per second':>12}  findings")
    for r in results:
        rate = r.executions / r.seconds
        print(
            f"{r.target:12}{r.executions:>12,}{r.seconds:>10}{rate:>12,.0f}",
            " ".join(r.findings) or "none",
            sep="  ",
        )


if __name__ == "__main__":
    sys.exit(main())
