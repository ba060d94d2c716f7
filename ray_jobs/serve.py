"""`videopasta serve` as a Ray job.

    ray job submit --no-wait --working-dir . -- python ray_jobs/serve.py --config configs/serve_qwen2_5_vl_7b.yaml

The options are those of `videopasta serve --help`. The token's file, or environment variable, is of the cluster's
machines. `ray job stop` ends the service.
"""

import sys

from videopasta.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "serve")
    main()
