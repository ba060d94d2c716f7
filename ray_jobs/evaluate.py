"""`videopasta evaluate` as a Ray job.

    ray job submit --working-dir . -- python ray_jobs/evaluate.py --model s3://bucket/aligned/model \
        --questions s3://bucket/questions --benchmarks paper --out s3://bucket/after \
        --config configs/evaluate_qwen2_5_vl_7b.yaml

The options are those of `videopasta evaluate --help`. Submit the same line again to continue.
"""

import sys

from videopasta.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "evaluate")
    main()
