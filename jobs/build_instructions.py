r"""Build instruction data on a Ray cluster, with the options of `taiyi-ray build-instructions`.

From a laptop, in the folder of the repository, with the same settings as for jobs/annotate.py:

    export RAY_AUTH_MODE=token RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265
    ray job submit --runtime-env jobs/runtime_env.yaml -- \
        python jobs/build_instructions.py --data-root s3://bucket/corpora --output s3://bucket/ins

It needs no engine. The same command goes on after a build that was stopped.
"""

import sys

from taiyi_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "build-instructions")
    main()
