"""A registry of checks: functions that raise an exception on failure."""

import sys
import traceback

checks = []


def check(function):
    checks.append(function)
    return function


def run():
    """Runs all checks, prints the number of passed ones, and exits."""
    failed = 0
    for function in checks:
        try:
            function()
            print("ok    ", function.__name__)
        except Exception:
            failed += 1
            print("FAILED", function.__name__)
            traceback.print_exc(file=sys.stdout)
    print(f"checks: {len(checks) - failed} passed; {failed} failed")
    sys.exit(failed > 0)
