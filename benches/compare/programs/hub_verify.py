"""Runs the hub client's verification of its cache on files with known checksums.

    hub_verify.py DIR SUMS

`hf cache verify` asks the hub for the checksums of a repository and then calls `verify_maps`. This program calls
`verify_maps` with the checksums in SUMS, a JSON object of names and SHA-256, so it needs no network. The answer names
the files that differ.
"""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from huggingface_hub.utils._verification import collect_local_files, verify_maps


def main() -> None:
    """Verifies once."""
    root = Path(sys.argv[1])
    sums = json.loads(Path(sys.argv[2]).read_text())
    remote = {name: SimpleNamespace(lfs={"sha256": digest}) for name, digest in sums.items()}
    started, spent = time.perf_counter(), time.process_time()
    found = verify_maps(
        remote_by_path=remote, local_by_path=collect_local_files(root), revision="main", verified_path=root
    )
    times = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - spent}
    bad = [mismatch["path"] for mismatch in found.mismatches] + found.missing_paths
    print(json.dumps({**times, "checked": found.checked_count, "bad": bad}))


if __name__ == "__main__":
    main()
