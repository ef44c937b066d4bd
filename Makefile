# Two commands on a bare machine: `make demo` and `make test`. Everything is installed in .venv.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV ?= .venv
BIN := $(VENV)/bin
DISTRO ?= kilted
# Two test files at a time, each with a ROS domain of its own where it has nodes.
PAIR := -n 2 --dist loadfile
# What the base install is tested with.
BASE := not deep and not slam and not fleet and not cluster and not browser and not pages and not long

# A sourced /opt/ros must not leak into the virtual environment, which brings ROS 2 as wheels.
unexport PYTHONPATH PYTHONHOME LD_LIBRARY_PATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH
unexport ROS_DISTRO ROS_DOMAIN_ID VIRTUAL_ENV _ROS_WHEELS_BOOTSTRAP_COMPLETE

.PHONY: help setup demo test test-nodes test-compat test-deep test-slam test-launch test-fleet test-cluster test-report
.PHONY: test-long lint docs docs-run docs-tables benchmark benchmark-gpu gpu clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup:  ## make .venv and install the package in it
	@VENV=$(VENV) .ci/setup

demo: setup  ## run both nodes on a simulated robot and show what was recognised
	@$(BIN)/segvlad demo --output build/demo

test:  ## the tests of the base install (unit, golden, real images, nodes, faults)
	@VENV=$(VENV) .ci/setup dev
	$(BIN)/pytest $(PAIR) -m "$(BASE)" --ignore=test/nodes
	$(BIN)/pytest $(PAIR) -m "$(BASE)" test/nodes

test-nodes:  ## the node tests on another ROS 2: make test-nodes DISTRO=kilted
	@.ci/test-nodes "$(DISTRO)" $(PAIR) -m "$(BASE)"

test-compat:  ## the tests without ROS against the NumPy, OpenCV, ... of Ubuntu 24.04
	@VENV=$(VENV) .ci/setup dev
	.ci/test-compat $(PAIR) -m "$(BASE)"

test-deep:  ## the tests of SAM, DINOv2, ONNX, fine-tuning and the nodes with them (installs about 5 GB, fetches 150 MB of weights)
	@VENV=$(VENV) .ci/setup dev deep onnx train
	SEGVLAD_REQUIRE_DEEP=1 OMP_NUM_THREADS=1 $(BIN)/pytest $(PAIR) -m "deep and not long"

test-slam:  ## the tests of the SLAM back-end (GTSAM; Python 3.11 or newer)
	@VENV=$(VENV) .ci/setup dev slam
	SEGVLAD_REQUIRE_SLAM=1 $(BIN)/pytest $(PAIR) -m "slam and not long"

test-launch:  ## ros2 launch, ros2 lifecycle, bond, TF and keystores with the real packages, from their sources (on GitHub)
	@VENV=$(VENV) .ci/setup dev slam
	VENV=$(VENV) .ci/launch-tools build/launch-tools
	. build/launch-tools/setup.bash && SEGVLAD_REQUIRE_LAUNCH=1 $(BIN)/pytest test/nodes/test_launch.py \
	  test/nodes/test_bond.py test/nodes/test_pose_graph_node.py test/nodes/test_security.py \
	  test/unit/ros/node/test_launching.py

test-fleet:  ## the tests of the place database of many robots (Milvus, embedded)
	@VENV=$(VENV) .ci/setup dev fleet
	SEGVLAD_REQUIRE_FLEET=1 $(BIN)/pytest -m "fleet and not long"

test-cluster:  ## the tests of extraction on a Ray cluster, which they start here
	@VENV=$(VENV) .ci/setup dev cluster
	SEGVLAD_REQUIRE_CLUSTER=1 $(BIN)/pytest -m "cluster and not long"

test-report:  ## the tests of reports in headless Chromium (brings it with apt where it may)
	@VENV=$(VENV) .ci/setup dev browser
	@.ci/chromium
	SEGVLAD_REQUIRE_CHROMIUM=1 $(BIN)/pytest -m "browser and not long"

test-long:  ## an hour or more: a simulated day, all of the fuzzing (minutes), kill loops, whole drives with the SLAM back-end
	@VENV=$(VENV) .ci/setup dev slam fleet cluster
	SEGVLAD_REQUIRE_FLEET=1 SEGVLAD_REQUIRE_CLUSTER=1 $(BIN)/pytest -m long

lint:  ## ruff over everything
	@VENV=$(VENV) .ci/setup dev
	$(BIN)/ruff check .

docs:  ## README and docs/ as a site in build/docs, every link inside it checked
	@VENV=$(VENV) .ci/setup docs
	$(BIN)/sphinx-build -q -n -W --keep-going -c docs . build/docs
	@cp build/docs/README.html build/docs/index.html

docs-run:  ## the commands of the pages, as they stand there
	@VENV=$(VENV) .ci/setup dev
	$(BIN)/pytest -m pages test/docs

docs-tables:  ## write the tables of docs/*.md (parameters, topics, services, messages) anew from the code
	@VENV=$(VENV) .ci/setup
	$(BIN)/python docs/write_tables.py

benchmark:  ## the speed comparisons of benchmark/ on this machine
	@VENV=$(VENV) .ci/setup dev deep
	$(BIN)/segvlad benchmark stock

benchmark-gpu:  ## SAM ViT-H + DINOv2 ViT-g at full size on a CUDA GPU, by stage
	@VENV=$(VENV) .ci/setup dev deep
	$(BIN)/python benchmark/gpu_keyframe.py --device cuda

gpu: setup  ## replace faiss-cpu by one for NVIDIA GPUs in .venv (Python 3.11 and later)
	$(BIN)/pip uninstall -y faiss-cpu && $(BIN)/pip install faiss-cuda==1.14.3.post0

clean:  ## remove what was built, .venv included
	rm -rf build install log dist *.egg-info $(VENV) .venv-compat .pytest_cache .ruff_cache segvlad_ros/*.so segvlad_ros/msg segvlad_ros/srv
