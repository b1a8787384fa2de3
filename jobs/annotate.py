"""Annotate a corpus on a Ray cluster, with the options of `taiyi-ray annotate`.

To run it on a cluster from elsewhere (one line):

    ray job submit --working-dir . -- python jobs/annotate.py s3://bucket/in --output s3://bucket/out
"""

import sys

from taiyi_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "annotate")
    main()
