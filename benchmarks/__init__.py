"""Speed, side by side with other implementations, in one run; and what limits usefulness."""

import os

os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(os.cpu_count()))  # the peers have all cores, too
