r"""Serve annotations on a Ray cluster, with the options of `taiyi-ray serve`.

From a laptop, in the folder of the repository, with the same settings as for jobs/annotate.py:

    export RAY_AUTH_MODE=token RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265
    ray job submit --runtime-env jobs/runtime_env.yaml -- \
        python jobs/serve.py --host 0.0.0.0 --api-keys-file s3://bucket/keys.yaml

Every node then listens, and hands a request to an engine that is free. The job's log says when the
service is ready. `ray job stop JOB` ends the service after it has answered the requests at work. A
service that shall run for long, and be changed while it runs, is better deployed:
deploy/serve_config.yaml.
"""

import sys

from taiyi_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "serve")
    main()
