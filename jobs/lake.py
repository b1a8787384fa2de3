r"""Update a lake on a Ray cluster, with the commands and options of `taiyi-ray lake`.

From a laptop, in the folder of the repository, with the same settings as for jobs/annotate.py:

    export RAY_AUTH_MODE=token RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265
    ray job submit --runtime-env jobs/runtime_env.yaml -- \
        python jobs/lake.py update s3://bucket/out --table s3://bucket/lake

It works on one machine of the cluster and needs no engine. The same command goes on after an update
that was stopped.
"""

import sys

from taiyi_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "lake")
    main()
