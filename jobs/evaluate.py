r"""Measure a model on a Ray cluster, with the options of `taiyi-ray evaluate`.

From a laptop, in the folder of the repository, with the same settings as for jobs/annotate.py:

    export RAY_AUTH_MODE=token RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265
    ray job submit --runtime-env jobs/runtime_env.yaml -- \
        python jobs/evaluate.py --data-root s3://bucket/corpora --output s3://bucket/scores

The corpora lie where every node can read them. The same command continues a job that was stopped.
"""

import sys

from taiyi_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "evaluate")
    main()
