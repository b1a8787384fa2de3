r"""Fine-tune a model on a Ray cluster, with the options of `taiyi-ray train`.

From a laptop, in the folder of the repository, with the same settings as for jobs/annotate.py:

    ray job submit --runtime-env jobs/runtime_env.yaml -- \
        python jobs/train.py s3://bucket/train.yaml --workers 8

The settings' `data` and `output` are addresses that all nodes reach. The same command continues a
job that was stopped for any reason, on the same number of workers or another.
"""

import sys

from taiyi_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
