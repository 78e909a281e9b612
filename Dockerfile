# CPU torch, and EGL for pictures without a screen. No engine has built this image yet; a test runs its pip lines in a
# virtual environment (pytest -m slow tests/test_dockerfile.py).
#
#   docker build -t rlmaml .
#   docker run --rm -v "$PWD/runs:/rlmaml/runs" rlmaml python scripts/train_nav.py
FROM python:3.11-slim

RUN apt-get update && apt-get install -y --no-install-recommends git libegl1 && rm -rf /var/lib/apt/lists/*
ENV MUJOCO_GL=egl PIP_NO_CACHE_DIR=1 PIP_CONSTRAINT=constraints.txt

WORKDIR /rlmaml
COPY . .
RUN python -m pip install torch --extra-index-url https://download.pytorch.org/whl/cpu
RUN python -m pip install -e .[minari,onnx]

CMD ["python", "scripts/train_nav.py", "--help"]
