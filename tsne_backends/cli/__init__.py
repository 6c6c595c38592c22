"""The command ``serverless-tsne``: one module for each command, `command` for all together.

`main` is where the process begins; what is to hold before any library is loaded is settled here.
"""

import os
import sys

#: Exit code after Ctrl-C, as shells have it.
INTERRUPTED = 130


def main() -> None:
    """Run the command that the process was started with."""
    try:
        from tsne_backends.machine import WAIT_POLICY

        # The process is ours, and OpenMP's runtime reads the policy once, with scikit-learn.
        os.environ.setdefault(WAIT_POLICY, "passive")
        from tsne_backends.cli.command import main as command
    except KeyboardInterrupt:  # `command` has its own words for what comes later
        print("Interrupted.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    command()
