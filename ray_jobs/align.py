"""`videopasta align` as a Ray job: pairs, training, evaluation before and after, report.

    ray job submit --working-dir . -- python ray_jobs/align.py \
        --videos s3://bucket/videos --unseen s3://bucket/other-videos --out s3://bucket/run \
        --generate-config configs/videopasta_7k.yaml --train-config configs/dpo_qwen2_5_vl_7b_8gpu.yaml \
        --evaluate-config configs/evaluate_qwen2_5_vl_7b.yaml

The options are those of `videopasta align --help`. Submit the same line again to continue: each step does what is
missing.
"""

import sys

from videopasta.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "align")
    main()
