"""pip route: builds the interfaces by running the package's own CMakeLists.txt.

colcon never reads this file (package.xml says ament_cmake).
"""
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
XML = ET.parse(HERE / "package.xml").getroot()
NAME = XML.findtext("name")
GENERATED = ("msg", "srv")
# Of rclpy, the middleware, the common interfaces and rcl's; pyproject.toml pins what builds the messages for each.
WHEELS = {"jazzy": ("7.1.6", "8.4.3", "5.3.6", "2.0.3"), "kilted": ("9.1.2", "9.3.3", "5.5.1", "2.3.0")}
COMMON = ("diagnostic-msgs", "geometry-msgs", "nav-msgs", "sensor-msgs", "std-msgs", "std-srvs", "visualization-msgs")


def ros_wheels():
    """Of the ROS 2 that the messages are built against; pip takes Jazzy if it may choose."""
    def is_here(distro):
        try:
            return version(f"ros-{distro}-rclpy")
        except PackageNotFoundError:
            return False
    distro = next(filter(is_here, WHEELS), "jazzy")
    rclpy, middleware, common, rcl = WHEELS[distro]
    versions = {"rclpy": rclpy, "rmw-fastrtps-cpp": middleware, **dict.fromkeys(COMMON, common),
                **dict.fromkeys(("lifecycle-msgs", "rosgraph-msgs", "rcl-interfaces"), rcl)}
    return [f"ros-{distro}-{name}=={number}" for name, number in versions.items()]


def ros_prefix():
    """The prefix with the ROS wheels: pip's build overlay under isolation, else the venv."""
    import ament_package
    prefix = Path(ament_package.__file__).resolve().parents[4]  # <prefix>/lib/pythonX.Y/site-packages
    if not (prefix / "share/rosidl_default_generators").is_dir():
        raise SystemExit(f"no rosidl_default_generators under {prefix}/share")
    return prefix


class CMakeBuild(build_ext):
    """cmake configure, build, install to a staging folder; then hand its files to setuptools."""

    def run(self):
        prefix, work = ros_prefix(), Path(self.build_temp).resolve()
        build, stage = work / "cmake", work / "stage"
        shutil.rmtree(work, ignore_errors=True)  # pip's overlay prefix is a new path every time
        env = {**os.environ, "AMENT_PREFIX_PATH": str(prefix)}
        # the wheels' cmake and ninja lie beside the interpreter, which need not be on PATH
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        env["PATH"] = path
        generator = ["-G", "Ninja"] if shutil.which("ninja", path=path) else []
        cmake = shutil.which("cmake", path=path)
        subprocess.run([cmake, "-S", HERE, "-B", build, *generator,
                        f"-DCMAKE_INSTALL_PREFIX={stage}", f"-DCMAKE_PREFIX_PATH={prefix}",
                        f"-DPython3_EXECUTABLE={sys.executable}",
                        f"-DCMAKE_PROJECT_INCLUDE={HERE / 'cmake/ros_wheels.cmake'}",
                        "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_TESTING=OFF",
                        "-DCMAKE_POLICY_VERSION_MINIMUM=3.5"], check=True, env=env)
        subprocess.run([cmake, "--build", build, "--parallel", str(os.cpu_count())], check=True, env=env)
        subprocess.run([cmake, "--install", build], check=True, env=env, stdout=subprocess.DEVNULL)

        site, = stage.glob(f"lib/python*/*-packages/{NAME}")
        target = HERE / NAME if self.inplace else Path(self.build_lib) / NAME
        for sub in GENERATED:
            if (site / sub).is_dir():
                shutil.rmtree(target / sub, ignore_errors=True)
                shutil.copytree(site / sub, target / sub,
                                ignore=shutil.ignore_patterns("*.c", "__pycache__"))
        for lib in site.glob("*.so"):
            shutil.copy2(lib, target / lib.name)
        for folder, _, files in os.walk(stage):  # the rest keeps its place below the prefix
            rel = Path(folder).relative_to(stage)
            if files and rel.parts[0] != "include" and rel.parts[:2] != site.relative_to(stage).parts[:2]:
                self.distribution.data_files.append((str(rel), [os.path.join(folder, f) for f in files]))
        if getattr(self, "editable_mode", False):  # editable_wheel itself forgets data_files
            self.run_command("install_data")

    def get_source_files(self):  # for sdist
        folders = (*GENERATED, "launch", "config", "cmake")
        return ["CMakeLists.txt", "package.xml"] + [
            str(p.relative_to(HERE)) for f in folders for p in (HERE / f).rglob("*") if p.is_file()]

    def get_outputs(self):
        return []

    def get_output_mapping(self):
        return {}


nodes = sorted(p.stem for p in (HERE / NAME / "nodes").glob("[!_]*.py"))  # the same rule as CMakeLists.txt
setup(
    name=NAME,
    version=XML.findtext("version"),
    description=XML.findtext("description"),
    license=XML.findtext("license"),
    packages=find_packages(include=[NAME, f"{NAME}.*"],
                           exclude=[f"{NAME}.{g}" for g in GENERATED]),
    package_data={f"{NAME}.evaluation": ["templates/*"]},
    ext_modules=[Extension(f"{NAME}.{NAME}_s", sources=[])],  # makes the wheel a platform wheel
    cmdclass={"build_ext": CMakeBuild},
    data_files=[],
    python_requires=">=3.10,<3.14",
    install_requires=ros_wheels() + [
        "numpy>=1.26", "opencv-contrib-python-headless>=4.8", "pillow>=10.2", "scipy>=1.11", "scikit-image>=0.22",
        "faiss-cpu>=1.9", "rosbags>=0.10.9,<0.12", "pyyaml>=6", "tqdm>=4.60", "threadpoolctl>=3.1",
        "jinja2>=3.1.2", "matplotlib>=3.6.3",
    ],
    extras_require={
        "deep": ["torch>=2.4", "torchvision>=0.19", "segment-anything==1.0", "timm>=1.0.9"],
        "slam": ["gtsam>=4.3"],
        "fleet": ["pymilvus==3.0.2", "milvus-lite==3.2.2"],
        "reproduce": ["h5py>=3.10"],
        "onnx": ["onnx>=1.16", "onnxruntime>=1.19", "onnxscript>=0.3"],
        "train": ["pytorch-metric-learning>=2.4"],
        "cluster": ["ray[client]>=2.52"],
        "dev": ["pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6", "ruff==0.17.6", "h5py>=3.10"],
        "browser": ["playwright>=1.48"],
        "docs": ["sphinx>=7.2", "myst-parser>=2", "furo>=2024.1"],
    },
    entry_points={"console_scripts": [
        "segvlad = segvlad_ros.cli:main",
        *(f"{NAME}_{n} = {NAME}.nodes.{n}:main" for n in nodes),
    ]},
)
