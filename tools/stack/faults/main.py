"""Tries faults, one after another, and prints a line for each, and a table. See tools/stack-faults.sh."""

import os
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True

import kinds
import servers
from run import Failed, Run

COLUMNS = ("fault", "lasted", "sends failed for", "none acknowledged for", "first send after the end of it",
           "ready again after", "acknowledged", "differences")


def seconds(value):
    if value is None:
        return "never"
    return "0" if value < 0.05 else f"{value:.1f} s"


def row(name, found):
    ready = seconds(found["ready"]) if found["unready"] else "always was"
    failed = seconds(found["failed_for"]) if found["failed"] else "none failed"
    differences = str(found["differences"] + len(found["probes"]))
    acknowledged = f"{found['replayed']} + {found['acked']}"
    if found["unanswered"]:
        acknowledged += f", {found['unanswered']} never"
    return (name, seconds(found["took"]), failed, seconds(found["silence"]), seconds(found["first_ack"]),
            ready, acknowledged, differences)


def is_recovered(found):
    well = found["first_ack"] is not None and found["ready"] is not None
    return well and not (found["differences"] or found["probes"] or found["unanswered"])


def main():
    names = sys.argv[1:] or list(kinds.KINDS)
    unknown = [name for name in names if name not in kinds.KINDS]
    if unknown:
        print(f"no fault {unknown[0]}; there are: {' '.join(kinds.KINDS)}", file=sys.stderr)
        return 2
    stack, rows, failed = servers.Stack(), [], []
    for name in names:
        run = Run(name, kinds.KINDS[name], stack, Path(os.environ["CHIRM_PROGRAMS"]))
        print(f"{time.strftime('%H:%M:%S')} {name} …", flush=True)
        try:
            found = run.play()
        except (Failed, OSError, RuntimeError) as error:
            print(f"{name}: FAILED: {error}; logs in {run.folder}", flush=True)
            failed.append(name)
            rows.append((name, *["?"] * (len(COLUMNS) - 2), "not judged"))
            continue
        rows.append(row(name, found))
        print("; ".join(f"{what} {value}" for what, value in zip(COLUMNS[1:], rows[-1][1:])), flush=True)
        for line in run.notes + found["reasons"] + found["probes"][:5] + found["broken"][:10]:
            print(f"  {line}", flush=True)
        if not is_recovered(found):
            failed.append(name)
            print(f"  {name}: NOT RECOVERED; logs in {run.folder}", flush=True)
    for cells in (COLUMNS, ["---"] * len(COLUMNS), *rows):
        print("| " + " | ".join(cells) + " |")
    if failed:
        print(f"stack-faults: {' '.join(failed)} failed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
