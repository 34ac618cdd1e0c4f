"""Prints the path of the test binary NAME, from cargo's messages on standard input."""

import json
import sys

for line in sys.stdin:
    message = json.loads(line)
    if message.get("target", {}).get("name") == sys.argv[1] and message.get("executable"):
        print(message["executable"])
        break
else:
    sys.exit(f"cargo built no {sys.argv[1]}")
