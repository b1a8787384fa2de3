r"""Annotate a corpus on a Ray cluster, with the options of `taiyi-ray annotate`.

From a laptop, in the folder of the repository, with the cluster's dashboard at 127.0.0.1:8265
(`ray dashboard cluster.yaml` forwards it) and its token in ~/.ray/auth_token:

    export RAY_AUTH_MODE=token RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265
    ray job submit --runtime-env jobs/runtime_env.yaml -- \
        python jobs/annotate.py s3://bucket/in --output s3://bucket/out

The command shows the job's log. If the job fails, the last lines say why, and the exit code is 1.
The job continues when the laptop is off (with `--no-wait` the command does not show the log):

    ray job logs --follow JOB
    ray job stop JOB
    taiyi-ray status s3://bucket/out --watch

The same command continues a job that was stopped for any reason.
"""

import sys

from taiyi_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "annotate")
    main()
