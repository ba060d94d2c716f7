"""`videopasta generate` as a Ray job.

    ray job submit --working-dir . -- python ray_jobs/generate_pairs.py \
        --videos s3://bucket/videos --out s3://bucket/pairs --config configs/videopasta_7k.yaml

The options are those of `videopasta generate --help`. Submit the same line again to continue.
"""

import sys

from videopasta.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "generate")
    main()
