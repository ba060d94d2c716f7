"""`videopasta train` as a Ray job.

    ray job submit --working-dir . -- python ray_jobs/train_dpo.py \
        --pairs s3://bucket/pairs --out s3://bucket/aligned --config configs/dpo_qwen2_5_vl_7b_8gpu.yaml

The options are those of `videopasta train --help`. Submit the same line again to continue.
"""

import sys

from videopasta.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
