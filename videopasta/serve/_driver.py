"""`videopasta generate` of a pair job: ``python -m videopasta.serve._driver PARENT_PID OPTION...``.

Ends as by SIGTERM, with what has come out committed, when the service does.
"""

import os
import signal
import sys

from videopasta.cli import main
from videopasta.parent import die_with

if __name__ == "__main__":
    die_with(int(sys.argv[1]), signal.SIGTERM)
    sys.argv = [os.fspath(sys.argv[0]), "generate", *sys.argv[2:]]
    main()
