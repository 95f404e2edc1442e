"""The examples run, and print what they promise."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "python"


def test_quickstart_basic():
    done = subprocess.run([sys.executable, EXAMPLES / "quickstart_basic.py"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "hot drinks: ['coffee', 'tea']",
        "tea: {'_id': 1, 'item': 'tea', 'price': 4.0, 'tags': ['hot', 'green', 'new'], 'sold': 10}",
        "revenue: 57.0",
        "refused: {'_id': 1}",
        "left: 2 logged: {'deleted': 3}",
    ]
