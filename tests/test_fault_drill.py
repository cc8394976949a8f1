import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "scripts" / "fault_drill.py"


def test_a_killed_run_ends_as_if_nobody_had_disturbed_it():
    flags = ("--runs", "1", "--pairs", "0", "--rows", "1000", "--epochs", "8",
             "--during-saves", "1", "--seed", "1")  # fmt: skip
    done = subprocess.run(
        [sys.executable, SCRIPT, *flags], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 of 1 runs ended with the bits of the undisturbed run" in done.stdout
    lines = re.findall(r"^run +\d+, (\w+): killed in .*: same bits$", done.stdout, re.M)
    assert lines == ["parquet"]
    assert int(re.search(r"^ +all +(\d+)$", done.stdout, re.M)[1]) >= 1
