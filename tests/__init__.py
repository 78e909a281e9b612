"""What is said before anything imports torch or rlmaml."""

import os

from tests.rlmaml import shapes

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is first imported: waiting threads sleep
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # read when MKL is first called: as in the scripts
shapes.install()  # read when rlmaml is first imported
